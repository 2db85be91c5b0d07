"""How well ``align`` and ``quick_check`` do on pairs of a list: the study behind docs/ALIGNMENT.md.

    medfusion registration-study PAIRS.csv --volumes FOLDER -o rows.csv

The other volume of each right pair is moved by made transforms, in turn by its header alone and
resampled as if scanned there, and then once with each change of ``registration_changes``; the quick
check is asked besides at set distances from the true place, up to 40 mm. Wrong pairs, of two heads
or of a head and something else, are moved and registered. The target error is the mean distance
between where the found and the true transform put the corners and the centre of the reference
head's bounding box. Limits are to be chosen on one part of the pairs and reported on the other.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import SimpleITK

from MedFusionLib.errors import InputError, RegistrationError
from MedFusionLib.evaluation.registration_changes import (
    CHANGES,
    FLIPPED,
    filed_elsewhere,
    made_transform,
    made_transform_by,
    scanned_elsewhere,
)
from MedFusionLib.evaluation.registration_engines import ENGINES, Registered
from MedFusionLib.registration.images import box_points, see_head, voxel_diagonal
from MedFusionLib.registration.overlap import read_transform
from MedFusionLib.registration.quick_check import quick_check
from MedFusionLib.registration.transforms import displacements, from_matrix, matrix_of
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.volume import Volume

RIGHT, WRONG = "right", "wrong"
FILED, SCANNED = "filed", "scanned"
PASS = "pass"
CHECK_ENGINE = "quick check"
CHECKED_DIAGONALS = (0.0, 0.5, 0.9, 1.5, 2.1, 3.0)
CHECKED_MM = (15.0, 40.0)
COLUMNS = ("part", "relation", "reference", "modality_a", "other", "modality_b", "transform")


@dataclass(frozen=True)
class StudyPair:
    """Two volumes, whether they show one head (right) or not (wrong), and the transform from
    reference to other space (LPS, mm) that is right. ``part``: the part of the list for which
    limits are chosen, or that on which they are reported."""

    name: str
    part: str
    relation: str
    reference: Volume
    other: Volume
    true: SimpleITK.Transform


@dataclass(frozen=True)
class Row:
    """One registration and what became of it; lengths in mm, NaN where there is no truth.

    ``error``: mean target error over nine points; ``misplaced``: the same before.
    ``check``: the quick check's verdict on the positions before. Rows of the engine "quick check"
    hold no registration, but the check alone.
    """

    pair: str
    part: str
    relation: str
    change: str
    seed: int
    engine: str
    misplaced: float
    error: float
    diagonal: float
    verdict: str
    residual: float
    check: str
    seconds: float


def read_pairs(path: Path, folders: Sequence[Path]) -> Iterator[StudyPair]:
    """Pairs of a CSV list whose files lie in one of the folders; the others are left out.

    Columns: part, relation (right, wrong), reference, modality_a, other, modality_b, transform (a
    file, or empty where one space is shared). Raises ``InputError`` for a list without these
    columns.
    """
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise InputError(f"'{path.name}' is no list of pairs. Columns: {', '.join(COLUMNS)}.")
        lines = list(table)
    for line in lines:
        one, two = (_find(line[role], folders) for role in ("reference", "other"))
        if one is None or two is None:
            continue
        true = _find(line["transform"], folders) if line["transform"] else None
        yield StudyPair(
            f"{line['reference'].split('.')[0]}–{line['other'].split('.')[0]}",
            line["part"],
            line["relation"],
            read_volume(one, line["modality_a"]),
            read_volume(two, line["modality_b"]),
            SimpleITK.Transform(3, SimpleITK.sitkIdentity)
            if true is None
            else read_transform(true),
        )


def _find(name: str, folders: Sequence[Path]) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def run_pair(pair: StudyPair, seeds: range, changes: bool, engines: Sequence[str]) -> Iterator[Row]:
    """A row per engine for each displacement, and, with ``changes``, for each change; then those
    of the quick check."""
    head = see_head(pair.reference, "reference")
    points = box_points(head.mask)
    for seed, change, other, moved in _cases(pair, head.centre, seeds, changes):
        case = _Case(pair, change, seed, other, _after(moved, pair.true, head.centre), points)
        for engine in engines:
            yield case.registered_by(engine)
        if change not in (FILED, SCANNED):
            yield case.checked()
    for length in _checked_lengths(pair):
        moved = made_transform_by(length, head.centre, points, seeds.start)
        there = from_matrix(
            matrix_of(moved) @ np.linalg.inv(matrix_of(pair.true)), "rigid", head.centre
        )
        other = filed_elsewhere(pair.other, there)
        yield _Case(pair, f"{length:.1f} mm", seeds.start, other, moved, points).checked()


def _after(
    moved: SimpleITK.Transform, true: SimpleITK.Transform, centre: tuple[float, float, float]
) -> SimpleITK.Transform:
    """From the reference to the other volume after its head was moved."""
    return from_matrix(matrix_of(moved) @ matrix_of(true), "rigid", centre)


def _checked_lengths(pair: StudyPair) -> list[float]:
    """In mm; a wrong pair is as wrong at one distance as at another, so two are enough."""
    if pair.relation == WRONG:
        return [0.0, CHECKED_MM[0]]
    diagonal = max(map(voxel_diagonal, (pair.reference, pair.other)))
    return [*(share * diagonal for share in CHECKED_DIAGONALS), *CHECKED_MM]


@dataclass(frozen=True)
class _Case:
    """One displaced or changed pair and what is done with it."""

    pair: StudyPair
    change: str
    seed: int
    other: Volume
    true: SimpleITK.Transform
    points: np.ndarray

    def registered_by(self, engine: str) -> Row:
        began = time.perf_counter()
        found = _registered(engine, self.pair.reference, self.other, self.seed)
        seconds = time.perf_counter() - began
        if found is None:
            return self._row(engine, verdict="refused", seconds=seconds)
        return self._row(
            engine,
            error=self._distance(found.transform),
            verdict=found.verdict,
            residual=found.residual,
            seconds=seconds,
        )

    def checked(self) -> Row:
        began = time.perf_counter()
        check = quick_check(self.pair.reference, self.other).verdict
        return self._row(CHECK_ENGINE, check=check, seconds=time.perf_counter() - began)

    def _distance(self, transform: SimpleITK.Transform) -> float:
        """Mean target error; NaN where no transform is right."""
        has_truth = self.pair.relation == RIGHT and self.change != FLIPPED
        return (
            float(displacements(transform, self.true, self.points).mean()) if has_truth else np.nan
        )

    def _row(
        self,
        engine: str,
        error: float = np.nan,
        verdict: str = "",
        residual: float = np.nan,
        check: str = "",
        seconds: float = np.nan,
    ) -> Row:
        return Row(
            pair=self.pair.name,
            part=self.pair.part,
            relation=FLIPPED if self.change == FLIPPED else self.pair.relation,
            change=self.change,
            seed=self.seed,
            engine=engine,
            misplaced=self._distance(SimpleITK.Transform(3, SimpleITK.sitkIdentity)),
            error=error,
            diagonal=max(map(voxel_diagonal, (self.pair.reference, self.other))),
            verdict=verdict,
            residual=residual,
            check=check,
            seconds=seconds,
        )


def _cases(
    pair: StudyPair, centre: tuple[float, float, float], seeds: range, changes: bool
) -> Iterator[tuple[int, str, Volume, SimpleITK.Transform]]:
    """Seed, name of the change, the other volume after it, and how its head was moved."""
    for seed in seeds:
        moved = made_transform(centre, seed)
        if seed % 2 == 0:
            yield seed, FILED, filed_elsewhere(pair.other, moved), moved
        else:
            yield seed, SCANNED, scanned_elsewhere(pair.other, moved), moved
    for name, change in CHANGES.items() if changes and pair.relation == RIGHT else ():
        moved = made_transform(centre, seeds.start)
        yield seeds.start, name, filed_elsewhere(change(pair.other, seeds.start), moved), moved


def _registered(engine: str, reference: Volume, other: Volume, seed: int) -> Registered | None:
    try:
        return ENGINES[engine](reference, other, seed)
    except RegistrationError:
        return None


def write_rows(rows: Iterator[Row], path: Path) -> list[Row]:
    """Write one CSV line per row, each as soon as it is known; returns them all."""
    done = []
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Row)])
        for row in rows:
            writer.writerow([getattr(row, field.name) for field in fields(Row)])
            file.flush()
            done.append(row)
    return done
