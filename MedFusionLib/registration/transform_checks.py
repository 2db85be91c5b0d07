"""Transforms that were given: what they must be before tissue is moved by them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import SimpleITK

from MedFusionLib.errors import InputError
from MedFusionLib.registration.transforms import matrix_of

SCALES = (0.5, 2.0)
"""How far one head can be stretched to lie on another; beyond, units or files are mixed up."""


def refuse_bad_transform(transform: SimpleITK.Transform, name: str) -> None:
    """Raise ``InputError`` unless a transform can lay one head on another.

    It must be three-dimensional and finite, and where it is linear neither flat, nor mirror, nor
    stretch or shrink along any direction beyond ``SCALES``. ``name`` is what the user calls it.
    """
    if transform.GetDimension() != 3:
        raise InputError(
            f"{name} is {transform.GetDimension()}-dimensional. Give one of three dimensions."
        )
    for part in _parts(transform):
        if part.IsLinear():
            _refuse_bad_matrix(matrix_of(part)[:3], name)
        elif not _is_finite(part):
            raise InputError(f"{name} holds NaN or infinite displacements. Make it again.")
    if transform.IsLinear():
        _refuse_bad_matrix(matrix_of(transform)[:3], name)


def _parts(transform: SimpleITK.Transform) -> Iterator[SimpleITK.Transform]:
    """The transform itself, or those that a composite applies one after the other."""
    plain = transform.Downcast()
    if not isinstance(plain, SimpleITK.CompositeTransform):
        yield plain
        return
    for index in range(plain.GetNumberOfTransforms()):
        yield from _parts(plain.GetNthTransform(index))


def _is_finite(transform: SimpleITK.Transform) -> bool:
    if isinstance(transform, SimpleITK.DisplacementFieldTransform):
        field = SimpleITK.GetArrayViewFromImage(transform.GetDisplacementField())
        return bool(np.isfinite(field).all())
    return bool(np.isfinite(transform.GetParameters()).all())


def _refuse_bad_matrix(matrix: np.ndarray, name: str) -> None:
    if not np.isfinite(matrix).all():
        raise InputError(f"{name} holds NaN or infinity. Make it again.")
    stretches = np.linalg.svd(matrix[:, :3], compute_uv=False)
    if stretches[-1] < 1e-6:
        raise InputError(f"{name} squeezes space flat. Make it again.")
    if np.linalg.det(matrix[:, :3]) < 0:
        raise InputError(f"{name} turns left into right, as in a mirror. Make it again.")
    if stretches[0] > SCALES[1] or stretches[-1] < SCALES[0]:
        raise InputError(
            f"{name} scales by {stretches[-1]:.3g} to {stretches[0]:.3g}, and one head is not "
            f"{SCALES[0]:g} to {SCALES[1]:g} times another: are its lengths in mm?"
        )
