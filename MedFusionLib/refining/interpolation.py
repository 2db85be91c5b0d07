"""A volume on a finer grid by cubic B-splines, within the values that were measured."""

from __future__ import annotations

import numpy as np

from MedFusionLib.refining.grids import FinerGrid
from MedFusionLib.refining.spline import along_axis, spline_weights


def interpolated(voxels: np.ndarray, grid: FinerGrid) -> np.ndarray:
    """Measured voxels (K, J, I) on the finer grid, float32: `spread` and `within_measured`."""
    return within_measured(spread(voxels, grid, grid.refined_axes), voxels, grid)


def spread(voxels: np.ndarray, grid: FinerGrid, axes: tuple[int, ...]) -> np.ndarray:
    """Voxels (K, J, I) interpolated along some of the axes, float32."""
    fine = voxels.astype(np.float32)
    for axis in axes:
        weights = spline_weights(grid.measured_shape[axis], grid.factor(axis), grid.shape[axis])
        fine = along_axis(weights, fine, axis)
    return fine


def within_measured(fine: np.ndarray, voxels: np.ndarray, grid: FinerGrid) -> np.ndarray:
    """The finer voxels (changed in place) without what splines add beside steep edges.

    No value lies outside the measured range; and where all measured voxels around show the
    smallest value, as air does that was cut, the fine ones do, too.
    """
    lowest = voxels.min()
    np.clip(fine, lowest, voxels.max(), out=fine)
    shown = (voxels > lowest).astype(np.float32)
    for axis in grid.refined_axes:
        shown = along_axis(linear_weights(grid, axis), shown, axis)
    fine[shown == 0] = lowest
    return fine


def linear_weights(grid: FinerGrid, axis: int) -> np.ndarray:
    """(fine, measured): the weights of linear interpolation along an axis."""
    away = grid.places(axis)[:, np.newaxis] - np.arange(grid.measured_shape[axis])
    return np.maximum(1 - np.abs(away), 0)
