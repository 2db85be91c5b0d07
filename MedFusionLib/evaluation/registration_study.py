"""How well ``align`` finds made misalignments: the study behind docs/ALIGNMENT.md.

    python -m MedFusionLib.evaluation.registration_study MR PET -o rows.csv --count 40

The other volume of an aligned pair is turned by up to 15° and shifted by up to 30 mm along every
axis, resampled as if scanned there, and registered. The target error is the distance between
where the found and the true transform put the corners and the centre of the reference head's
bounding box. Because two volumes of one file pair need not lie exactly on each other, the error
against the pose that ``align`` finds for the undisturbed pair is written, too.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import SimpleITK

from MedFusionLib.registration.align import align
from MedFusionLib.registration.images import box_points, see_head, voxel_diagonal
from MedFusionLib.registration.overlap import resample
from MedFusionLib.registration.transforms import displacements, from_matrix, matrix_of
from MedFusionLib.volumes.volume import Volume

LARGEST_DEGREES = 15.0
LARGEST_MM = 30.0
MARGIN = 1.3


@dataclass(frozen=True)
class Row:
    """One made misalignment and what became of it; lengths in mm.

    ``error``: mean target error over nine points, ``error_largest`` the largest of them,
    ``error_to_own_pose``: the mean against the pose found for the undisturbed pair.
    """

    seed: int
    misplaced: float
    error: float
    error_largest: float
    error_to_own_pose: float
    voxel_diagonal: float
    residual: float
    verdict: str
    seconds: float


def made_transform(centre: tuple[float, float, float], seed: int) -> SimpleITK.Transform:
    """Rigid transform with angles up to 15° and shifts up to 30 mm per axis, about a centre."""
    random = np.random.default_rng(seed)
    angles = np.radians(random.uniform(-LARGEST_DEGREES, LARGEST_DEGREES, 3))
    shift = random.uniform(-LARGEST_MM, LARGEST_MM, 3)
    return SimpleITK.Euler3DTransform(centre, *angles.tolist(), shift.tolist())


def scanned_elsewhere(volume: Volume, transform: SimpleITK.Transform) -> Volume:
    """The volume as a scanner sees it after ``transform`` moved the head: same directions, a
    grid around the new place."""
    shape = tuple(int(np.ceil(MARGIN * length)) for length in volume.grid_shape)
    middles = [(np.array(size[::-1]) - 1) / 2 for size in (volume.grid_shape, shape)]
    there = np.array(transform.TransformPoint((volume.affine_lps @ [*middles[0], 1])[:3].tolist()))
    origin = there - volume.affine_lps[:3, :3] @ middles[1]
    empty = np.broadcast_to(np.uint8(0), shape)
    grid = Volume(empty, volume.spacing, tuple(origin.tolist()), volume.directions)
    return resample(volume, grid, transform.GetInverse())


def run_study(reference: Volume, other: Volume, seeds: range) -> Iterator[Row]:
    """Align the pair after each made misalignment; yields a row per seed."""
    head = see_head(reference, "reference")
    points = box_points(head.mask)
    own_pose = matrix_of(align(reference, other).transform)
    identity = SimpleITK.Transform(3, SimpleITK.sitkIdentity)
    for seed in seeds:
        true = made_transform(head.centre, seed)
        started = time.perf_counter()
        found = align(reference, scanned_elsewhere(other, true), seed=seed)
        errors = displacements(found.transform, true, points)
        own = from_matrix(matrix_of(true) @ own_pose, "rigid", head.centre)
        yield Row(
            seed=seed,
            misplaced=float(displacements(true, identity, points).mean()),
            error=float(errors.mean()),
            error_largest=float(errors.max()),
            error_to_own_pose=float(displacements(found.transform, own, points).mean()),
            voxel_diagonal=max(voxel_diagonal(reference), voxel_diagonal(other)),
            residual=found.quality.evidence.residual_mm,
            verdict=found.quality.verdict,
            seconds=time.perf_counter() - started,
        )


def main(reference: Path, other: Path, output: Path, count: int, first: int) -> None:
    """Write one line per made misalignment, each as soon as it is known."""
    from MedFusionLib.volumes.files import read_volume

    volumes = read_volume(reference), read_volume(other)
    with output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(Row.__dataclass_fields__))
        writer.writeheader()
        for row in run_study(*volumes, range(first, first + count)):
            writer.writerow(asdict(row))
            file.flush()


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    arguments = parser.parse_args()
    main(
        arguments.reference,
        arguments.other,
        arguments.output,
        arguments.count,
        arguments.first,
    )
