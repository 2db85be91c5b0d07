"""Many cases, one after the other: a table of pairs in, a folder of fused volumes out."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from MedFusionLib.errors import InputError, sentence_of
from MedFusionLib.outputs import bug_sentence
from MedFusionLib.tables import read_rows

_FURTHER_COLUMN = re.compile(r"further_(\d+)")
REQUIRED_COLUMNS = ("case", "reference", "other")
FURTHER_SETTINGS = ("modality", "window", "alignment", "colour")
"""Columns that may stand beside ``further_1``, as ``further_1_window``."""
SETTING_COLUMNS = ("planes", "grid", "refinement")
"""Columns for settings of ``fuse``; an empty cell leaves what is set for the whole batch."""
SUMMARY_COLUMNS = ("case", "status", "seconds", "output", "error")
DONE, SKIPPED, FAILED = "done", "skipped", "failed"

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class FurtherVolume:
    """A volume behind the second, and how it is set."""

    path: Path
    modality: str | None
    window: str
    alignment: str | Path
    """A kind of alignment, a transform file, or empty: as the other volume."""
    colour: str


@dataclass(frozen=True)
class Case:
    """One line of the table; paths are relative to the table's folder."""

    case: str
    reference: Path
    other: Path
    transform: Path | None
    further: tuple[FurtherVolume, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of ``SETTING_COLUMNS`` those that are set for this case."""


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

    Further volumes stand in ``further_1``, ``further_2`` …, each with the columns of
    `FURTHER_SETTINGS` if wanted; a cell may be empty where a case has fewer volumes. The columns
    of `SETTING_COLUMNS` are taken as they are (`case_settings.refuse_bad_case_settings`).

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
        tuple(_further(row, folder)),
        {name: row[name] for name in SETTING_COLUMNS if row.get(name)},
    )


def _further(row: Mapping[str, Any], folder: Path) -> Iterator[FurtherVolume]:
    from MedFusionLib.laying import ALIGNMENTS

    numbers = sorted(
        int(found[1]) for name in row if name and (found := _FURTHER_COLUMN.fullmatch(name))
    )
    for number in numbers:
        name = f"further_{number}"
        if not row[name]:
            continue
        modality, window, alignment, colour = (
            row.get(f"{name}_{setting}") or "" for setting in FURTHER_SETTINGS
        )
        is_kind = not alignment or alignment in ALIGNMENTS
        yield FurtherVolume(
            folder / row[name],
            modality or None,
            window or "auto",
            alignment if is_kind else folder / alignment,
            colour or "auto",
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
    """Fuse one case and write its volume; ``settings`` go to ``fuse``, and the case's own.

    All but two: ``modalities`` (of reference and other) and ``geometry`` are for reading them.
    """
    from MedFusionLib.fusion import fuse
    from MedFusionLib.registration.overlap import read_transform
    from MedFusionLib.volumes.files import read_volume, write_volume

    arguments = {**settings, **case.settings}
    modalities = arguments.pop("modalities", (None, None))
    geometry = arguments.pop("geometry", None)
    if case.transform is not None:
        arguments["alignment"] = read_transform(case.transform)
    volumes = [
        read_volume(path, modality, geometry=geometry)
        for path, modality in (
            (case.reference, modalities[0]),
            (case.other, modalities[1]),
            *((one.path, one.modality) for one in case.further),
        )
    ]
    arguments |= _settings_of_each(case, arguments)
    write_volume(fuse(volumes, **arguments, progress=progress).volume, output)


def _settings_of_each(case: Case, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What `fuse` takes for each other volume: of the batch for the first, of the table behind."""
    from MedFusionLib.registration.overlap import read_transform

    if not case.further:
        return {}
    of_first = settings.get("alignment", "resample")
    if not isinstance(of_first, str) and not all(one.alignment for one in case.further):
        raise InputError(
            "The transform of the table lays the other volume alone. Say in further_1_alignment "
            "and so on how the further volumes are laid."
        )
    return {
        "alignment": [
            of_first,
            *(
                read_transform(one.alignment)
                if isinstance(one.alignment, Path)
                else one.alignment or of_first
                for one in case.further
            ),
        ],
        "window_other": [settings.get("window_other"), *(one.window for one in case.further)],
        "colour": [settings.get("colour", "auto"), *(one.colour for one in case.further)],
    }


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
