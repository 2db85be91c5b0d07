"""Cubic B-splines along the axes of a volume, with the weights that SimpleITK gives them.

The interpolation of a volume is a product of interpolations along its axes, so that one matrix for
each axis is all that is needed: what SimpleITK makes of unit impulses. M. Unser, Splines, a perfect
fit for signal and image processing, IEEE Signal Process. Mag. 16 (1999) 22.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=64)
def spline_weights(count: int, factor: float, fine_count: int) -> np.ndarray:
    """(fine_count, count): row j weighs ``count`` samples at the place ``j / factor``.

    Places are in steps of the samples. Beyond both ends the samples are mirrored, about the first
    and the last. At a sample the row has a 1 and zeros, to rounding.
    """
    import SimpleITK

    impulses = np.repeat(np.eye(count)[:, np.newaxis], 2, axis=1)  # along K an impulse for each I
    image = SimpleITK.GetImageFromArray(impulses)
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetSize([count, 2, fine_count])
    resampler.SetOutputSpacing([1.0, 1.0, 1 / factor])
    resampler.SetInterpolator(SimpleITK.sitkBSpline)
    resampler.SetOutputPixelType(SimpleITK.sitkFloat64)
    weights = SimpleITK.GetArrayFromImage(resampler.Execute(image))[:, 0]
    weights.flags.writeable = False
    return weights


def along_axis(weights: np.ndarray, voxels: np.ndarray, axis: int) -> np.ndarray:
    """Voxels (float32) weighed along one axis by ``weights`` (fine, count)."""
    moved = np.tensordot(weights.astype(np.float32), voxels, axes=(1, axis))
    return np.ascontiguousarray(np.moveaxis(moved, 0, axis))
