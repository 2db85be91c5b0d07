"""``medfusion finer-study``: how well finer grids are filled between slices that were left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from MedFusionLib.commands.common import say
from MedFusionLib.errors import InputError
from MedFusionLib.outputs import refuse_collisions, refuse_unwritable_file, write_text

COLUMNS = ("volume", "factor", "averaged", "way", "psnr", "ssim", "edges_per_mm")


def finer_study_command(
    volumes: list[Path] = typer.Argument(help="Volumes of thin slices: files or DICOM folders."),
    factors: str = typer.Option("2,4", help="Keep every n-th slice; with commas between."),
    weights: Path | None = typer.Option(
        None, help="Weights of 'medfusion train finer' instead of the shipped ones."
    ),
    json_file: Path | None = typer.Option(None, "--json", help="Write the figures here as JSON."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print errors only."),
) -> None:
    """Thin volumes, refine them, and compare with the slices that were left out."""
    from MedFusionLib.evaluation.finer_study import judge
    from MedFusionLib.refining.weight_file import load_network
    from MedFusionLib.volumes.files import read_volume

    if json_file is not None:
        refuse_unwritable_file(json_file)
        refuse_collisions({"--json": json_file}, [*volumes, weights])
    kept = [_factor(text) for text in factors.split(",")]
    network, _ = load_network() if weights is None else load_network(weights)
    rows: list[dict[str, Any]] = []
    for path in volumes:
        say(f"Reading {path}", quiet)
        volume = read_volume(path)
        for averaged in (False, True):
            judged = judge(volume, kept, averaged, network)
            rows += [{"volume": path.name, **row} for row in judged]
    if not quiet:
        _print(rows)
    if json_file is not None:
        write_text(json_file, json.dumps({"rows": rows}, indent=1, allow_nan=False) + "\n")
        say(f"Wrote {json_file}.", quiet)


def _factor(text: str) -> int:
    if not text.strip().isdigit() or int(text) < 2:
        raise InputError(f"'{text}' is no factor. Give whole numbers from 2, such as 2,4.")
    return int(text)


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*(name.replace("_", " ") for name in COLUMNS))
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in COLUMNS))
    Console().print(table)


def _cell(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "–"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)
