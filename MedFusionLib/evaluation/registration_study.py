"""How well ``align`` and ``quick_check`` do on pairs of a list: the study behind docs/ALIGNMENT.md.

    medfusion registration-study PAIRS.csv --volumes FOLDER -o rows.csv

The other volume of each right pair is moved by made transforms, in turn by its header alone and
resampled as if scanned there, and then once with each change of ``registration_changes``. Wrong
pairs, of two heads or of a head and something else, are registered as they are and moved. The
target error is the mean distance between where the found and the true transform put the corners
and the centre of the reference head's bounding box.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from MedFusionLib.errors import InputError, RegistrationError
from MedFusionLib.evaluation.registration_changes import (
    CHANGES,
    FLIPPED,
    filed_elsewhere,
    made_transform,
    scanned_elsewhere,
)
from MedFusionLib.evaluation.registration_engines import ENGINES
from MedFusionLib.registration.images import box_points, see_head, voxel_diagonal
from MedFusionLib.registration.overlap import read_transform
from MedFusionLib.registration.quick_check import quick_check
from MedFusionLib.registration.transforms import displacements, from_matrix, matrix_of
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.volume import Volume

RIGHT, WRONG = "right", "wrong"
PASS = "pass"
COLUMNS = ("relation", "reference", "modality_a", "other", "modality_b", "transform")


@dataclass(frozen=True)
class StudyPair:
    """Two volumes, whether they show one head (right) or not (wrong), and the transform from
    reference to other space (LPS, mm) that is right."""

    name: str
    relation: str
    reference: Volume
    other: Volume
    true: SimpleITK.Transform


@dataclass(frozen=True)
class Row:
    """One registration and what became of it; lengths in mm, NaN where there is no truth.

    ``error``: mean target error over nine points; ``misplaced``: the same before.
    ``check``: the quick check's verdict on the positions before.
    """

    pair: str
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

    Columns: relation (right, wrong), reference, modality_a, other, modality_b, transform (a file,
    or empty where one space is shared). Raises ``InputError`` for a list without these columns.
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
    """A row per engine for each displacement, and, with ``changes``, for each change."""
    head = see_head(pair.reference, "reference")
    points = box_points(head.mask)
    for seed, change, other, moved in _cases(pair, head.centre, seeds, changes):
        true = from_matrix(matrix_of(moved) @ matrix_of(pair.true), "rigid", head.centre)
        identity = SimpleITK.Transform(3, SimpleITK.sitkIdentity)
        has_truth = pair.relation == RIGHT and change != FLIPPED
        for engine in engines:
            began = time.perf_counter()
            found = _registered(engine, pair.reference, other, seed)
            seconds = time.perf_counter() - began
            error = np.nan if found is None else displacements(found[0], true, points).mean()
            yield Row(
                pair=pair.name,
                relation=FLIPPED if change == FLIPPED else pair.relation,
                change=change,
                seed=seed,
                engine=engine,
                misplaced=float(displacements(identity, true, points).mean())
                if has_truth
                else np.nan,
                error=float(error) if has_truth else np.nan,
                diagonal=max(map(voxel_diagonal, (pair.reference, other))),
                verdict="refused" if found is None else found.verdict,
                residual=np.nan if found is None else found.residual,
                check=quick_check(pair.reference, other).verdict if engine == engines[0] else "",
                seconds=seconds,
            )


def _cases(
    pair: StudyPair, centre: tuple[float, float, float], seeds: range, changes: bool
) -> Iterator[tuple[int, str, Volume, SimpleITK.Transform]]:
    """Seed, name of the change, the other volume after it, and how its head was moved."""
    for seed in seeds:
        moved = made_transform(centre, seed)
        if seed % 2 == 0:
            yield seed, "filed", filed_elsewhere(pair.other, moved), moved
        else:
            yield seed, "scanned", scanned_elsewhere(pair.other, moved), moved
    for name, change in CHANGES.items() if changes and pair.relation == RIGHT else ():
        moved = made_transform(centre, seeds.start)
        yield seeds.start, name, filed_elsewhere(change(pair.other, seeds.start), moved), moved


def _registered(engine: str, reference: Volume, other: Volume, seed: int) -> Any:
    try:
        return ENGINES[engine](reference, other, seed)
    except RegistrationError:
        return None


def summary(rows: Sequence[Row]) -> str:
    """Markdown table, a line per pair, relation and engine."""
    lines = [
        "| pair | engine | runs | median error | 95th percentile | diagonal | within a diagonal "
        "| pass | quick check right | median time |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key in dict.fromkeys((row.pair, row.relation, row.engine) for row in rows):
        group = [row for row in rows if (row.pair, row.relation, row.engine) == key]
        lines.append(_line(key, group))
    return "\n".join(lines) + "\n"


def _line(key: tuple[str, str, str], group: Sequence[Row]) -> str:
    name, relation, engine = key
    errors = np.array([row.error for row in group])
    known = errors[np.isfinite(errors)]
    within = sum(row.error <= row.diagonal for row in group)
    passed = sum(row.verdict == PASS for row in group)
    checks = [check_is_right(row) for row in group if row.check]
    middle, far = (f"{np.percentile(known, q):.2f} mm" if known.size else "–" for q in (50, 95))
    return (
        f"| {name} ({relation}) | {engine} | {len(group)} | {middle} | {far} "
        f"| {np.median([row.diagonal for row in group]):.2f} mm "
        f"| {f'{within} of {len(group)}' if known.size else '–'} "
        f"| {f'{passed} of {len(group)}' if any(row.verdict for row in group) else '–'} "
        f"| {f'{sum(checks)} of {len(checks)}' if checks else '–'} "
        f"| {np.median([row.seconds for row in group]):.1f} s |"
    )


def check_is_right(row: Row) -> bool:
    """Whether the quick check told the truth.

    Up to one diagonal they lie on each other, beyond two they are shifted; between, both are
    right. Volumes of two heads, or a flipped one, must not be said to lie on each other.
    """
    if not np.isfinite(row.misplaced):
        return row.check != "lie on each other"
    if row.misplaced <= row.diagonal:
        return row.check == "lie on each other"
    if row.misplaced > 2 * row.diagonal:
        return row.check == "shifted"
    return row.check != "cannot tell"


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
