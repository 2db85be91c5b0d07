"""``medfusion evaluate --downstream``: a class of disease predicted from sources and fusions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from MedFusionLib.commands.common import print_json, progress_bar, say
from MedFusionLib.errors import InputError
from MedFusionLib.version import __version__

SHOWN = 7
"""Columns of each table that the terminal has room for."""


def evaluate_downstream(
    table: Path | None,
    split: str,
    sets: str,
    per_patient: int | None,
    methods: Sequence[str],
    epochs: int,
    metadata: Sequence[str],
    used: tuple[str, str],
    output: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run the study on the pairs of a table, show it, and write its files into a folder."""
    from MedFusionLib.computing.device import choose_device, choose_precision
    from MedFusionLib.evaluation.downstream.cohort import read_cohort
    from MedFusionLib.evaluation.downstream.files import WRITTEN, write_study
    from MedFusionLib.evaluation.downstream.study import run_study
    from MedFusionLib.evaluation.pairs import of_sets, read_pairs

    if table is None:
        raise InputError("--downstream needs a table with diagnoses. Name it by --pairs.")
    if output is None:
        raise InputError("Say where the results go: --output FOLDER.")
    if metadata and not epochs:
        raise InputError(
            "--metadata joins the images within TFormer. Say for how many epochs it is trained: "
            "--tformer-epochs 20."
        )
    pairs = of_sets(read_pairs(table, split), sets)
    cohort = read_cohort(table, pairs, per_patient, metadata)
    device = choose_device(used[0])
    precision = choose_precision(used[1], device.device)
    with progress_bar(quiet) as progress:
        measured = run_study(cohort, methods, epochs, device, precision, progress)
    study: dict[str, Any] = {
        "version": __version__,
        "pairs": table.name,
        "split": split,
        "sample": f"up to {per_patient} slices of a patient and set"
        if per_patient
        else "all slices",
        "device": device.title,
        "precision": precision,
        "metadata": list(metadata),
        **measured,
    }
    write_study(study, output)
    if as_json:
        print_json(study)
    elif not quiet:
        _print(study)
    say(f"Wrote {', '.join(WRITTEN[:-1])} and {WRITTEN[-1]} to {output}.", quiet)


def _print(study: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from MedFusionLib.evaluation.downstream.page import FEW, result_tables, untestable

    console = Console()
    for shown in result_tables(study):
        console.print(f"\n[bold]{shown.title}[/bold]. {shown.caption}")
        table = Table(*shown.headings[:SHOWN])
        for row in shown.rows:
            table.add_row(*row[:SHOWN])
        console.print(table)
    for line in (*untestable(study), FEW):
        console.print(line)
