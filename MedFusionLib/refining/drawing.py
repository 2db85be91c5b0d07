"""The trained network over a whole volume: what it adds between the slices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from MedFusionLib.errors import Cancelled, InputError
from MedFusionLib.refining.grids import FinerGrid
from MedFusionLib.refining.interpolation import spread, within_measured
from MedFusionLib.refining.network import NEIGHBOURS, SliceRefiner
from MedFusionLib.refining.spline import along_axis, spline_weights
from MedFusionLib.slices.intensity import Window

LEARNED_STEPS = (1.5, 7.0)
"""Distances of the slices, over that of their pixels: 2 to 6 were trained, up to 7 was judged."""
LEARNED = ("MR", "unknown")
ON_A_SLICE = 1e-6
"""Of the measured step: nearer than this to a slice, nothing is between."""
SLICES_AT_ONCE = 4


def unlearned(modality: str, grid: FinerGrid) -> str | None:
    """Why the network cannot serve a reference on a grid; None where it can."""
    if modality not in LEARNED:
        return f"The network refines MR alone; it has learned nothing of {modality}."
    lowest, highest = LEARNED_STEPS
    if not lowest <= relative_step(grid) <= highest:
        return (
            f"The slices are {relative_step(grid):.1f} times as far apart as their pixels. The "
            f"network has learned {lowest:g} to {highest:g} times."
        )
    return None


def refuse_unlearned(modality: str, grid: FinerGrid) -> None:
    """Raise ``InputError`` where the network would be asked for what it has not learned."""
    reason = unlearned(modality, grid)
    if reason:
        raise InputError(f"{reason} Choose the refinement 'interpolation'.")


def relative_step(grid: FinerGrid) -> float:
    """Distance of the slices over the mean distance of their pixels."""
    along = 2 - grid.thick_axis
    others = [step for axis, step in enumerate(grid.measured_spacing) if axis != along]
    return grid.measured_spacing[along] / float(np.mean(others))


def refined(
    voxels: np.ndarray,
    grid: FinerGrid,
    window: Window,
    network: SliceRefiner,
    device: torch.device,
    cancel: Callable[[], bool] | None = None,
) -> np.ndarray:
    """Measured voxels (K, J, I) on the finer grid, float32, as spline and network give them.

    The network works between the slices of the thickest axis, on their own pixels; along the other
    axes the spline goes on from there. Raises ``Cancelled``.
    """
    axis = grid.thick_axis
    across = tuple(one for one in grid.refined_axes if one != axis)
    fine = spread(voxels, grid, (axis,))
    unit = np.moveaxis(window.to_unit(voxels), axis, 0)
    added = _added(unit, grid, network.to(device).eval(), device, cancel)
    fine += np.moveaxis(added, 0, axis) * np.float32(window.high - window.low)
    there = replace(
        grid,
        measured_spacing=_with(grid.measured_spacing, 2 - axis, grid.spacing[2 - axis]),
        measured_shape=_with(grid.measured_shape, axis, grid.shape[axis]),
    )
    return within_measured(spread(fine, there, across), voxels, grid)


@torch.inference_mode()
def _added(
    unit: np.ndarray,
    grid: FinerGrid,
    network: SliceRefiner,
    device: torch.device,
    cancel: Callable[[], bool] | None,
) -> np.ndarray:
    """What is added to the fine slices (N, H, W), of measured ones in [0, 1]."""
    axis = grid.thick_axis
    count = len(unit)
    smooth = along_axis(spline_weights(count, grid.factor(axis), grid.shape[axis]), unit, 0)
    places = grid.places(axis)
    before = np.minimum(np.floor(places + ON_A_SLICE).astype(int), count - 2)
    between = places - before
    added = np.zeros_like(smooth)
    drawn = np.flatnonzero((between > ON_A_SLICE) & (between < 1 - ON_A_SLICE))
    for start in range(0, len(drawn), SLICES_AT_ONCE):
        if cancel is not None and cancel():
            raise Cancelled("The refinement was cancelled; nothing was written.")
        these = drawn[start : start + SLICES_AT_ONCE]
        near = np.clip(before[these, np.newaxis] + np.array(NEIGHBOURS), 0, count - 1)
        arguments = (
            unit[near],
            smooth[these, np.newaxis],
            between[these],
            np.full(len(these), relative_step(grid)),
        )
        tensors = [torch.from_numpy(one.astype(np.float32)).to(device) for one in arguments]
        added[these] = network(*tensors)[:, 0].cpu().numpy()
    return added


def _with(values: tuple, place: int, value: float) -> tuple:
    return *values[:place], value, *values[place + 1 :]
