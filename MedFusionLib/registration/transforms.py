"""Rigid and affine transforms as plain geometry: kinds, inverses, distances, files.

All map points (LPS, mm) of one head's space to the other's, as ITK's registration does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from MedFusionLib.errors import InputError
from MedFusionLib.outputs import refuse_unwritable_file, written_whole
from MedFusionLib.volumes.hushed import hushed

TRANSFORM_SUFFIXES = (".tfm", ".h5")


def matrix_of(transform: SimpleITK.Transform) -> np.ndarray:
    """(4, 4) homogeneous matrix of a linear transform."""
    matrix = np.eye(4)
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    columns = [transform.TransformPoint(axis) for axis in np.eye(3).tolist()]
    matrix[:3, :3] = np.array(columns).T - matrix[:3, 3:]
    return matrix


def from_matrix(
    matrix: np.ndarray, freedom: str, centre: tuple[float, float, float]
) -> SimpleITK.Transform:
    """Transform about ``centre`` from a (4, 4) matrix; ``rigid`` takes its nearest rotation.

    The nearest rotation is the orthogonal factor of the polar decomposition (Higham, SIAM J. Sci.
    Stat. Comput. 7:1160–1174, 1986).
    """
    linear = matrix[:3, :3]
    if freedom == "rigid":
        left, _, right = np.linalg.svd(linear)
        linear = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    transform = SimpleITK.Euler3DTransform() if freedom == "rigid" else SimpleITK.AffineTransform(3)
    target = matrix[:3, :3] @ centre + matrix[:3, 3]
    transform.SetCenter(centre)
    transform.SetMatrix(linear.ravel().tolist())
    transform.SetTranslation((target - centre).tolist())
    return transform


def with_freedom(
    transform: SimpleITK.Transform, freedom: str, centre: tuple[float, float, float]
) -> SimpleITK.Transform:
    """The same mapping as a rigid (Euler angles) or affine transform about ``centre``."""
    return from_matrix(matrix_of(transform), freedom, centre)


def inverse(
    transform: SimpleITK.Transform, freedom: str, centre: tuple[float, float, float]
) -> SimpleITK.Transform:
    """The way back, of the same kind."""
    return from_matrix(np.linalg.inv(matrix_of(transform)), freedom, centre)


def scaled(transform: SimpleITK.Transform, factor: float) -> SimpleITK.Transform:
    """The same rigid or affine transform in another unit of length, ``factor`` to the old one."""
    there: Any = type(transform)(transform)
    there.SetCenter([factor * place for place in there.GetCenter()])
    there.SetTranslation([factor * way for way in there.GetTranslation()])
    return there


def unwrapped(transform: SimpleITK.Transform) -> SimpleITK.Transform:
    """The rigid or affine transform itself: an optimised one comes wrapped in a composite."""
    plain = transform.Downcast()
    if isinstance(plain, SimpleITK.CompositeTransform):
        return plain.GetNthTransform(0).Downcast()
    return plain


def moved(transform: SimpleITK.Transform, points: np.ndarray) -> np.ndarray:
    """(N, 3) points after a linear transform."""
    offset = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [transform.TransformPoint(axis) for axis in np.eye(3).tolist()]
    return points @ (np.array(columns) - offset) + offset


def displacements(
    one: SimpleITK.Transform, two: SimpleITK.Transform, points: np.ndarray
) -> np.ndarray:
    """(N,) distances in mm between where two transforms put the points."""
    return np.linalg.norm(moved(one, points) - moved(two, points), axis=1)


def check_transform_path(path: str | os.PathLike[str]) -> Path:
    """The path, if a transform can be written there; ``InputError`` otherwise."""
    place = Path(path)
    if place.suffix.lower() not in TRANSFORM_SUFFIXES:
        raise InputError(f"'{place.name}' is no transform format. End it with .tfm or .h5.")
    refuse_unwritable_file(place)
    return place


def write_transform(transform: SimpleITK.Transform, path: str | os.PathLike[str]) -> None:
    """Write .tfm or .h5, whole or not at all, and see that it reads back; Slicer reads both.

    ``MedFusionLib.registration.overlap.read_transform`` reads it, too.
    """
    place = check_transform_path(path)
    with written_whole(place) as partial:
        # ITK knows its formats by endings in lower case.
        plain = partial.with_name("transform" + place.suffix.lower())
        try:
            with hushed():
                SimpleITK.WriteTransform(transform, str(plain))
                again = SimpleITK.ReadTransform(str(plain))
        except RuntimeError as error:
            raise InputError(f"'{place.name}' could not be written. Is the disk full?") from error
        if not np.allclose(matrix_of(again), matrix_of(transform), rtol=0, atol=1e-6):
            raise InputError(f"'{place.name}' could not be written: what was read back differs.")
        plain.replace(partial)
