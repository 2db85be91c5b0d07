"""Many cases, one after the other: a table of pairs in, a folder of fused volumes out."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from MedFusionLib.errors import InputError, sentence_of
from MedFusionLib.outputs import bug_sentence
from MedFusionLib.tables import read_rows

REQUIRED_COLUMNS = ("case", "reference", "other")
SUMMARY_COLUMNS = ("case", "status", "seconds", "output", "error")
DONE, SKIPPED, FAILED = "done", "skipped", "failed"

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Case:
    """One line of the table; paths are relative to the table's folder."""

    case: str
    reference: Path
    other: Path
    transform: Path | None


@dataclass(frozen=True)
class Outcome:
    """What became of a case."""

    case: str
    status: str
    seconds: float
    output: str
    error: str


def read_cases(table: Path) -> list[Case]:
    """Read a CSV with the columns case, reference, other and, if wanted, transform.

    Raises ``InputError`` for a missing file, column or cell, an empty table, a case named twice,
    and a name that is no file name.
    """
    cases = [_case(row, table.parent) for row in read_rows(table, REQUIRED_COLUMNS)]
    if not cases:
        raise InputError(f"The table '{table}' has no case.")
    _refuse_unusable_names([case.case for case in cases], table)
    return cases


def _case(row: Mapping[str, Any], folder: Path) -> Case:
    transform = row.get("transform", "")
    return Case(
        row["case"],
        folder / row["reference"],
        folder / row["other"],
        folder / transform if transform else None,
    )


def _refuse_unusable_names(names: list[str], table: Path) -> None:
    for name in names:
        if not name or Path(name).name != name or name.startswith("."):
            raise InputError(
                f"'{name}' in the table '{table}' cannot name a file. Use letters and digits."
            )
        if names.count(name) > 1:
            raise InputError(f"The case '{name}' stands twice in the table '{table}'.")


def fuse_case(
    case: Case, output: Path, settings: Mapping[str, Any], progress: Progress | None = None
) -> None:
    """Fuse one case and write its volume; ``settings`` go to ``fuse``.

    All but two: ``modalities`` (of reference and other) and ``geometry`` are for reading them.
    """
    from MedFusionLib.fusion import fuse
    from MedFusionLib.registration.overlap import read_transform
    from MedFusionLib.volumes.files import read_volume, write_volume

    arguments = dict(settings)
    modalities = arguments.pop("modalities", (None, None))
    geometry = arguments.pop("geometry", None)
    if case.transform is not None:
        arguments["alignment"] = read_transform(case.transform)
    reference = read_volume(case.reference, modalities[0], geometry=geometry)
    other = read_volume(case.other, modalities[1], geometry=geometry)
    write_volume(fuse(reference, other, **arguments, progress=progress).volume, output)


def run_cases(
    cases: Iterable[Case],
    folder: Path,
    settings: Mapping[str, Any],
    resume: bool,
    report: Callable[[Outcome], None],
    progress: Progress | None = None,
) -> list[Outcome]:
    """Fuse all cases into ``folder``; a bad case is reported and does not stop the rest.

    With ``resume``, cases whose output is there already are skipped. ``report`` is told each
    outcome as it comes, ``progress`` of the steps within a case.
    """
    outcomes = []
    for case in cases:
        output = output_path(folder, case)
        if resume and output.is_file():
            outcome = Outcome(case.case, SKIPPED, 0.0, str(output), "")
        else:
            outcome = attempt(case, output, settings, progress)
        outcomes.append(outcome)
        report(outcome)
    return outcomes


def output_path(folder: Path, case: Case) -> Path:
    """Where a case's fused volume is written."""
    return folder / f"{case.case}.nrrd"


def attempt(
    case: Case, output: Path, settings: Mapping[str, Any], progress: Progress | None = None
) -> Outcome:
    """Fuse one case; whatever goes wrong with it becomes its outcome, with the reason."""
    started = time.perf_counter()
    try:
        fuse_case(case, output, settings, progress)
    except Exception as error:
        reason = sentence_of(error) or bug_sentence(error)
        return Outcome(case.case, FAILED, time.perf_counter() - started, "", reason)
    return Outcome(case.case, DONE, time.perf_counter() - started, str(output), "")


def summary_text(outcomes: Iterable[Outcome]) -> str:
    """The outcomes as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, SUMMARY_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for outcome in outcomes:
        writer.writerow(asdict(outcome) | {"seconds": f"{outcome.seconds:.3f}"})
    return text.getvalue()
