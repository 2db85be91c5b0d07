"""``medfusion misalignment``: what 0, 1, 2 and 4 mm of error do to the fused images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from MedFusionLib.commands.common import progress_bar, say
from MedFusionLib.errors import InputError
from MedFusionLib.methods import method_card, slice_method_names
from MedFusionLib.outputs import refuse_collisions, refuse_unwritable_file, write_text

PRINTED = ("Qabf", "SSIM", "invented_edges", "hue_error")
"""As many as fit on a terminal; the JSON has all."""


def misalignment_command(
    pairs: Path = typer.Option(
        ..., help="CSV of aligned slice pairs: pair_id, set, patient, split, mri, other."
    ),
    split: str = typer.Option("dev", help="Split of the table to use, or all."),
    sets: str = typer.Option("all", help="Sets to use, with commas between, or all."),
    per_set: int = typer.Option(3, min=1, help="Pairs of each set, evenly spaced through it."),
    errors: str = typer.Option("0,1,2,4", help="Misalignments in mm, with commas between."),
    pixel_mm: float = typer.Option(0.9, min=0.01, help="Width of a pixel in mm."),
    methods: str = typer.Option("all", help="Methods, with commas between, or all."),
    device: str = typer.Option("auto", help="auto, cpu, cuda:0, …"),
    precision: str = typer.Option("auto", help="auto, float32, bfloat16 or float16."),
    json_file: Path | None = typer.Option(None, "--json", help="Write the figures here as JSON."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print errors only."),
) -> None:
    """Move the other image of aligned pairs, fuse, and score against the images' true place."""
    from MedFusionLib.computing.device import choose_device, choose_precision
    from MedFusionLib.evaluation.misalignment import Study, run_study, spread_pairs
    from MedFusionLib.evaluation.pairs import of_sets, read_pairs

    if json_file is not None:
        refuse_unwritable_file(json_file)
        refuse_collisions({"--json": json_file}, [pairs])
    names = list(slice_method_names()) if methods == "all" else _listed(methods)
    chosen = spread_pairs(of_sets(read_pairs(pairs, split), sets), per_set)
    # The aligned pair comes first whatever was asked: all else is compared with it.
    lengths = sorted({0.0, *map(_millimetres, _listed(errors))})
    study = Study(chosen, lengths, pixel_mm)
    used = choose_device(device)
    with progress_bar(quiet) as progress:
        figures = run_study(
            study,
            [method_card(name).name for name in names],
            used,
            choose_precision(precision, used.device),
            progress,
        )
    if not quiet:
        _print(figures)
    if json_file is not None:
        write_text(json_file, json.dumps(figures, indent=1, allow_nan=False) + "\n")
        say(f"Wrote {json_file}.", quiet)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _millimetres(text: str) -> float:
    try:
        length = float(text)
    except ValueError:
        length = -1.0
    if not 0 <= length <= 50:
        raise InputError(f"'{text}' is no misalignment. Give millimetres from 0 to 50.")
    return length


def _print(figures: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from MedFusionLib.evaluation.misalignment import TRUE_PLACE

    table = Table("set", "method", "mm", *(name.replace("_", " ") for name in PRINTED))
    for row in figures["rows"]:
        if row["against"] == TRUE_PLACE:
            cells = ["–" if row[name] is None else f"{row[name]:.3g}" for name in PRINTED]
            table.add_row(row["set"], row["method"], f"{row['error_mm']:g}", *cells)
    Console().print(table)
