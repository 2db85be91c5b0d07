"""Paired points, placed by hand on both volumes: a start for registration, and a check of it.

Read are the markups that Slicer writes (``.mrk.json``, ``.fcsv``). All points are LPS, mm.
"""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from MedFusionLib.errors import InputError
from MedFusionLib.registration.transforms import with_freedom

LEAST_POINTS = 3
LEAST_WIDTH_MM = 5.0
"""Points on a line leave the turn about it open; so far they must reach from every line."""
LARGEST_MISFIT_MM = 20.0
"""Far more than a careless hand misses; two points with swapped labels leave more."""

RAS_NAMES = ("RAS", "0")
LPS_NAMES = ("LPS", "1")
LabelledPoint = tuple[str, list[float]]
FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"


@dataclass(frozen=True)
class Landmarks:
    """Points (N, 3) in LPS, mm, of the reference and of the other volume; row by row the same
    spot of the head. ``labels`` are those of the reference's points."""

    labels: tuple[str, ...]
    reference: np.ndarray
    other: np.ndarray

    def __post_init__(self) -> None:
        if len(self.reference) != len(self.other):
            raise InputError(
                f"Landmarks on the reference: {len(self.reference)}, on the other volume: "
                f"{len(self.other)}. Each needs its partner."
            )
        if len(self.reference) < LEAST_POINTS:
            raise InputError(
                f"Pairs of landmarks: {len(self.reference)}. A rigid position needs "
                f"{LEAST_POINTS} or more."
            )
        for points in (self.reference, self.other):
            _refuse_a_line(points)
        self._refuse_a_bad_fit()

    def rigid(self) -> SimpleITK.Transform:
        """The rigid transform from reference to other space with the least squared distance."""
        one, two = (points.ravel().tolist() for points in (self.reference, self.other))
        fitted = SimpleITK.LandmarkBasedTransformInitializer(
            SimpleITK.VersorRigid3DTransform(), one, two
        )
        return with_freedom(fitted, "rigid", tuple(self.reference.mean(axis=0).tolist()))

    def distances(self, transform: SimpleITK.Transform) -> np.ndarray:
        """(N,) distances in mm between the reference's points, taken to other space, and theirs.

        Each holds the errors of placing both points as well as that of the transform, which may
        bend space.
        """
        there = [transform.TransformPoint(point) for point in self.reference.tolist()]
        return np.linalg.norm(np.array(there) - self.other, axis=1)

    def _refuse_a_bad_fit(self) -> None:
        left = float(self.distances(self.rigid()).mean())
        if left > LARGEST_MISFIT_MM:
            raise InputError(
                "The landmarks do not fit each other: wherever the head is laid, they stay "
                f"{left:.0f} mm apart on average. Check that each lies on the same spot in both "
                "volumes, and their labels."
            )

    def to_report(self, transform: SimpleITK.Transform) -> dict[str, Any]:
        """Plain JSON values: mean and largest distance in mm, and each by its label."""
        distances = self.distances(transform)
        return {
            "mean_mm": float(distances.mean()),
            "largest_mm": float(distances.max()),
            "points": [
                {"label": label, "distance_mm": distance}
                for label, distance in zip(self.labels, distances.tolist(), strict=True)
            ],
        }


def _refuse_a_line(points: np.ndarray) -> None:
    widths = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if widths[1] < LEAST_WIDTH_MM:
        raise InputError(
            "The landmarks lie on a line or in one place, so they leave a turn open. Place them "
            "farther apart from each other, in a triangle."
        )


def read_landmarks(reference: str | os.PathLike[str], other: str | os.PathLike[str]) -> Landmarks:
    """Landmarks from one markups file per volume.

    Points with the same labels belong together; where the labels differ, the order tells. Raises
    ``InputError`` for files that hold no points, and for fewer than three pairs.
    """
    return paired(_read_points(Path(reference)), _read_points(Path(other)))


def paired(reference: list[LabelledPoint], other: list[LabelledPoint]) -> Landmarks:
    """Landmarks of the points of the two volumes, each with its label (LPS, mm).

    Points with the same labels belong together; where the labels differ, the order tells. Raises
    ``InputError`` for points without a partner, fewer than three, on a line, or that do not fit.
    """
    first, second = [label for label, _ in reference], [label for label, _ in other]
    if len(set(first)) == len(first) and sorted(first) == sorted(second):
        other = [other[second.index(label)] for label in first]
    return Landmarks(
        tuple(first), *(np.array([point for _, point in each]) for each in (reference, other))
    )


def _read_points(path: Path) -> list[LabelledPoint]:
    """Labels and LPS positions of the points in a file."""
    readers = {".json": _points_of_json, ".fcsv": _points_of_fcsv}
    if path.suffix.lower() not in readers:
        raise InputError(f"'{path.name}' holds no landmarks. Give a .mrk.json or .fcsv file.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The landmarks in '{path}' cannot be read. Check the path.") from error
    try:
        points = readers[path.suffix.lower()](text)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"'{path.name}' is not a list of points as Slicer writes it (.mrk.json, .fcsv)."
        ) from error
    if not points or not np.isfinite([point for _, point in points]).all():
        raise InputError(f"'{path.name}' holds no points that are placed. Place them, save again.")
    return points


def _points_of_json(text: str) -> list[LabelledPoint]:
    points = []
    for markup in json.loads(text)["markups"]:
        signs = _signs(str(markup.get("coordinateSystem", "LPS")))
        for point in markup["controlPoints"]:
            if point.get("positionStatus", "defined") == "defined":
                points.append((str(point.get("label", "")), _in_lps(point["position"], signs)))
    return points


def _points_of_fcsv(text: str) -> list[LabelledPoint]:
    system, columns = "RAS", FCSV_COLUMNS
    rows = []
    for line in text.splitlines():
        name, _, value = line.lstrip("# ").partition("=")
        if line.startswith("#") and name.strip() == "CoordinateSystem":
            system = value.strip()
        elif line.startswith("#") and name.strip() == "columns":
            columns = value.strip()
        elif line.strip() and not line.startswith("#"):
            rows.append(line)
    table = csv.DictReader(rows, fieldnames=columns.split(","))
    signs = _signs(system)
    return [(row["label"] or "", _in_lps([row["x"], row["y"], row["z"]], signs)) for row in table]


def _signs(system: str) -> tuple[float, float, float]:
    """What turns a point of the named coordinate system to LPS."""
    if system in LPS_NAMES:
        return 1.0, 1.0, 1.0
    if system in RAS_NAMES:
        return -1.0, -1.0, 1.0
    raise ValueError(system)


def _in_lps(position: list[Any], signs: tuple[float, float, float]) -> list[float]:
    x, y, z = (sign * float(value) for sign, value in zip(signs, position, strict=True))
    return [x, y, z]
