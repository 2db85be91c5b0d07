"""How a position of two heads is measured: what they tell about each other, and their overlap."""

from __future__ import annotations

import numpy as np
import SimpleITK

from MedFusionLib.registration.images import Head, on_grid
from MedFusionLib.registration.transforms import inverse, moved

BINS = 48
VOXEL_MM = 3.0
HEAD_POINTS = 500


def mutual_information(
    fixed: Head,
    moving: Head,
    transform: SimpleITK.Transform,
    mask: SimpleITK.Image | None = None,
    voxel_mm: float = VOXEL_MM,
) -> float:
    """Mutual information in nats of 48×48 grey levels, over the fixed head and 10 mm around it.

    ``mask`` takes the place of the head and its surroundings. Samples outside the moving image
    count as its darkest value, so that numbers of different positions can be compared.
    I = Σ p(a,b) ln(p(a,b) / p(a)p(b)) (Shannon 1948).
    """
    grid = fixed.level(voxel_mm)
    looked_at = fixed.skin if mask is None else mask
    inside = SimpleITK.GetArrayFromImage(on_grid(looked_at, grid)) > 0
    coarse = moving.level(voxel_mm)
    darkest = float(SimpleITK.GetArrayFromImage(coarse).min())
    there = SimpleITK.Resample(coarse, grid, transform, SimpleITK.sitkLinear, darkest)
    one, two = (SimpleITK.GetArrayFromImage(image)[inside] for image in (grid, there))
    joint = np.histogram2d(one, two, BINS)[0] / max(1, one.size)
    expected = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    some = joint > 0
    return float((joint[some] * np.log(joint[some] / expected[some])).sum())


def head_overlap(fixed: Head, moving: Head, transform: SimpleITK.Transform, freedom: str) -> float:
    """Share, 0 to 1, of the better covered head that lies inside the other's image."""
    back = inverse(transform, freedom, moving.centre)
    return max(covered(fixed, moving, transform), covered(moving, fixed, back))


def covered(fixed: Head, moving: Head, transform: SimpleITK.Transform) -> float:
    """Share of the fixed head, 0 to 1, that lies inside the moving image."""
    image = moving.image
    axes = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    points = moved(transform, _head_points(fixed))
    indices = np.linalg.solve(axes, (points - image.GetOrigin()).T).T
    inside = (indices >= -0.5) & (indices <= np.array(image.GetSize()) - 0.5)
    return float(inside.all(axis=1).mean())


def _head_points(head: Head) -> np.ndarray:
    indices = np.argwhere(SimpleITK.GetArrayFromImage(head.mask))[:, ::-1]
    thinned = indices[np.linspace(0, len(indices) - 1, min(HEAD_POINTS, len(indices))).astype(int)]
    axes = np.array(head.mask.GetDirection()).reshape(3, 3) * head.mask.GetSpacing()
    return thinned @ axes.T + head.mask.GetOrigin()
