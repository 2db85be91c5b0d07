"""How well a finer grid is filled: volumes are thinned, refined and compared with the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from MedFusionLib.errors import InputError
from MedFusionLib.refining.drawing import refined, unlearned
from MedFusionLib.refining.grids import FinerGrid
from MedFusionLib.refining.interpolation import interpolated, linear_weights
from MedFusionLib.refining.network import SliceRefiner
from MedFusionLib.refining.spline import along_axis
from MedFusionLib.refining.thinning import thinning
from MedFusionLib.slices.intensity import Window, choose_window
from MedFusionLib.volumes.volume import Volume

HEAD_LEVEL = 0.05
"""Edges are counted where the truth is above this share of its window."""
SLICES_NEEDED = 4
"""That thinning leaves."""


@dataclass(frozen=True)
class Thinned:
    """A volume of which slices were left out, and what they were."""

    voxels: np.ndarray
    """Thinned, (K, J, I), float32."""
    truth: np.ndarray
    grid: FinerGrid
    """From the thinned voxels to those of the truth."""
    window: Window

    @property
    def left_out(self) -> np.ndarray:
        """Which slices of the truth were left out, along its thinned axis."""
        factor = round(self.grid.factor(self.grid.thick_axis))
        return np.arange(self.grid.shape[self.grid.thick_axis]) % factor > 0


def thinned(volume: Volume, factor: int, averaged: bool) -> Thinned:
    """A volume of which every ``factor``-th slice is left, along its thickest axis (K if alike).

    ``averaged``: as `thinning` says. Raises ``InputError`` where too few would be left.
    """
    steps = np.array(volume.spacing)
    along = 2 if np.ptp(steps) < 1e-3 * steps.max() else int(np.argmax(steps))
    axis = 2 - along
    count = volume.grid_shape[axis]
    if factor < 2 or (count - 1) // factor + 1 < SLICES_NEEDED:
        raise InputError(
            f"Every {factor}-th of {count} slices cannot be judged. Give a factor from 2 that "
            f"leaves {SLICES_NEEDED} slices."
        )
    voxels = along_axis(thinning(count, factor, averaged), volume.voxels.astype(np.float32), axis)
    kept = (voxels.shape[axis] - 1) * factor + 1
    truth = volume.voxels.take(range(kept), axis).astype(np.float32)
    coarse = steps.copy()
    coarse[along] *= factor
    i, j, k = coarse.tolist()
    grid = FinerGrid("truth", volume.spacing, truth.shape, (i, j, k), voxels.shape)
    return Thinned(voxels, truth, grid, choose_window(volume))


def nearest(one: Thinned) -> np.ndarray:
    """Each voxel from the nearest measured slice; midway, from the one behind."""
    axis = one.grid.thick_axis
    return one.voxels.take(np.floor(one.grid.places(axis) + 0.5).astype(int), axis)


def linear(one: Thinned) -> np.ndarray:
    """Linear interpolation between the measured slices."""
    axis = one.grid.thick_axis
    return along_axis(linear_weights(one.grid, axis), one.voxels, axis)


def ways_to_refine(network: SliceRefiner | None) -> dict[str, Callable[[Thinned], np.ndarray]]:
    """What is judged, by name."""
    ways = {
        "nearest": nearest,
        "linear": linear,
        "B-spline": lambda one: interpolated(one.voxels, one.grid),
    }
    if network is not None:
        ways["network"] = lambda one: refined(
            one.voxels, one.grid, one.window, network, torch.device("cpu")
        )
    return ways


def judge(
    volume: Volume, factors: Sequence[int], averaged: bool, network: SliceRefiner | None
) -> list[dict[str, Any]]:
    """One row for each factor and way, and for the truth: PSNR, SSIM, edges per millimetre.

    PSNR (dB) and SSIM (mean over the slices, Gaussian window of σ 1.5) compare the slices that
    were left out with the truth, in the volume's window, whose range is 1. Edges: mean change from
    slice to slice within the head, in per cent of the range per millimetre. The network is left
    out where it has not learned enough.
    """
    rows = []
    for factor in factors:
        one = thinned(volume, factor, averaged)
        used = None if unlearned(volume.modality, one.grid) else network
        images = {name: way(one) for name, way in ways_to_refine(used).items()}
        for name, image in {"truth": one.truth, **images}.items():
            scores = _scores(image, one)
            rows.append({"factor": factor, "averaged": averaged, "way": name, **scores})
    return rows


def _scores(image: np.ndarray, one: Thinned) -> dict[str, float | None]:
    from skimage.metrics import structural_similarity

    axis = one.grid.thick_axis
    shown, truth = (
        np.moveaxis(one.window.to_unit(voxels), axis, 0) for voxels in (image, one.truth)
    )
    step = one.grid.spacing[2 - axis]
    head = (truth[1:] + truth[:-1]) / 2 > HEAD_LEVEL
    edges = float(np.abs(np.diff(shown, axis=0))[head].mean() / step) if head.any() else 0.0
    left_out = one.left_out
    error = float(np.square(shown - truth)[left_out].mean(dtype=np.float64))
    same = [
        structural_similarity(a, b, data_range=1.0, gaussian_weights=True, sigma=1.5)
        for a, b in zip(shown[left_out], truth[left_out], strict=True)
    ]
    return {
        "psnr": -10 * float(np.log10(error)) if error else None,
        "ssim": float(np.mean(same)),
        "edges_per_mm": 100 * edges,
    }
