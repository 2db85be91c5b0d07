"""Many cases, one after the other: a table of pairs in, a folder of fused volumes out."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from MedFusionLib.errors import InputError, MedFusionError

REQUIRED_COLUMNS = ("case", "reference", "other")
SUMMARY_COLUMNS = ("case", "status", "seconds", "output", "error")
DONE, SKIPPED, FAILED = "done", "skipped", "failed"


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

    Raises ``InputError`` for a missing file or column, an empty table, a case named twice, and
    a name that is no file name.
    """
    if not table.is_file():
        raise InputError(f"There is no table '{table}'. Check the path.")
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [name for name in REQUIRED_COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"The table '{table}' lacks the column {', '.join(missing)}.")
        cases = [_case(row, table.parent) for row in reader]
    if not cases:
        raise InputError(f"The table '{table}' has no case.")
    _refuse_unusable_names([case.case for case in cases], table)
    return cases


def _case(row: Mapping[str, Any], folder: Path) -> Case:
    transform = (row.get("transform") or "").strip()
    return Case(
        (row["case"] or "").strip(),
        folder / (row["reference"] or "").strip(),
        folder / (row["other"] or "").strip(),
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


def fuse_case(case: Case, output: Path, settings: Mapping[str, Any]) -> None:
    """Fuse one case and write its volume; ``settings`` go to ``fuse``."""
    from MedFusionLib.fusion import fuse
    from MedFusionLib.registration.overlap import read_transform
    from MedFusionLib.volumes.files import read_volume, write_volume

    arguments = dict(settings)
    modalities = arguments.pop("modalities", (None, None))
    if case.transform is not None:
        arguments["alignment"] = read_transform(case.transform)
    reference = read_volume(case.reference, modalities[0])
    other = read_volume(case.other, modalities[1])
    write_volume(fuse(reference, other, **arguments).volume, output)


def run_cases(
    cases: Iterable[Case],
    folder: Path,
    settings: Mapping[str, Any],
    resume: bool,
    report: Callable[[Outcome], None],
) -> list[Outcome]:
    """Fuse all cases into ``folder``; a bad case is reported and does not stop the rest.

    With ``resume``, cases whose output is there already are skipped. ``report`` is told each
    outcome as it comes.
    """
    outcomes = []
    for case in cases:
        output = output_path(folder, case)
        if resume and output.is_file():
            outcome = Outcome(case.case, SKIPPED, 0.0, str(output), "")
        else:
            outcome = attempt(case, output, settings)
        outcomes.append(outcome)
        report(outcome)
    return outcomes


def output_path(folder: Path, case: Case) -> Path:
    """Where a case's fused volume is written."""
    return folder / f"{case.case}.nrrd"


def attempt(case: Case, output: Path, settings: Mapping[str, Any]) -> Outcome:
    """Fuse one case; whatever goes wrong with it becomes its outcome."""
    started = time.perf_counter()
    try:
        fuse_case(case, output, settings)
    except (MedFusionError, ValueError, OSError, RuntimeError, MemoryError) as error:
        return Outcome(case.case, FAILED, time.perf_counter() - started, "", str(error))
    return Outcome(case.case, DONE, time.perf_counter() - started, str(output), "")


def summary_text(outcomes: Iterable[Outcome]) -> str:
    """The outcomes as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, SUMMARY_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for outcome in outcomes:
        writer.writerow(asdict(outcome) | {"seconds": f"{outcome.seconds:.3f}"})
    return text.getvalue()
