"""``medfusion registration-study``: how well volumes of a list are aligned, and the table of it."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import typer

from MedFusionLib.commands.common import say
from MedFusionLib.errors import InputError


def registration_study_command(
    pairs: Path = typer.Argument(help="CSV list of pairs (Testing/benchmarks)."),
    output: Path = typer.Option(..., "--output", "-o", help="CSV of all registrations, to write."),
    volumes: list[Path] = typer.Option(
        ..., help="Folder with volumes of the list; may be given more than once."
    ),
    displacements: int = typer.Option(20, min=1, help="Displacements per pair."),
    first: int = typer.Option(0, min=0, help="Seed of the first displacement."),
    changes: bool = typer.Option(True, help="Also cropped, flipped, noised and so on."),
    engine: list[str] = typer.Option(
        ["medfusion"], help="medfusion, elastix; may be given more than once."
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print errors only."),
) -> None:
    """Move the volumes of each pair, align them, and print the table of errors and verdicts."""
    from MedFusionLib.evaluation.registration_engines import ENGINES
    from MedFusionLib.evaluation.registration_study import (
        read_pairs,
        run_pair,
        write_rows,
    )
    from MedFusionLib.evaluation.registration_tables import summary
    from MedFusionLib.outputs import refuse_unwritable_folder

    refuse_unwritable_folder(output.parent)
    unknown = sorted(set(engine) - set(ENGINES))
    if unknown:
        raise InputError(f"There is no engine '{unknown[0]}'. Choose of: {', '.join(ENGINES)}.")
    seeds = range(first, first + displacements)
    found = chain.from_iterable(
        run_pair(pair, seeds, changes, engine) for pair in read_pairs(pairs, volumes)
    )
    rows = write_rows(found, output)
    if not rows:
        raise InputError("No pair of the list lies in the folders. Name them with --volumes.")
    print(summary(rows), end="")
    say(f"Wrote {output}.", quiet)
