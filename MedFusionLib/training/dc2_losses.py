"""DC2Fusion's loss, by MONAI's definitions, and what its readers must see beside it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.losses import LocalNormalizedCrossCorrelationLoss
from torch import Tensor
from torch.nn import functional as F

from MedFusionLib.training.balls import BallMaker
from MedFusionLib.training.legibility import LegibleLoss, ScoreLoss
from MedFusionLib.training.losses import gaussian_window

REFERENCE, OTHER = 2.0, 1.0
"""Weights of each term towards the two sources, as in the authors' run."""

_correlation = LocalNormalizedCrossCorrelationLoss(spatial_dims=3)


def dissimilarity(first: Tensor, second: Tensor) -> Tensor:
    """1 - SSIM in Gaussian windows of 11×11×11 voxels, sigma 1.5, wholly inside; range 1.

    MONAI's ``SSIMLoss(spatial_dims=3)``, axis by axis, which takes a tenth of the time.
    """
    maps = torch.cat([first, second, first * first, second * second, first * second], dim=1)
    mean1, mean2, square1, square2, product = _windowed(maps).split(1, dim=1)
    luminance = (2 * mean1 * mean2 + 0.01**2) / (mean1**2 + mean2**2 + 0.01**2)
    spread = square1 - mean1**2 + square2 - mean2**2
    structure = (2 * (product - mean1 * mean2) + 0.03**2) / (spread + 0.03**2)
    return 1 - (luminance * structure).mean()


def _windowed(maps: Tensor) -> Tensor:
    """Gaussian means (N, C, D - 10, H - 10, W - 10) of maps (N, C, D, H, W)."""
    window = gaussian_window(11, 1.5, maps)
    for axis in (-3, -2, -1):
        whole = maps.shape[axis] - 10
        rows = torch.zeros(whole, maps.shape[axis], device=maps.device, dtype=maps.dtype)
        places = torch.arange(whole, device=maps.device)[:, None] + torch.arange(
            11, device=maps.device
        )
        rows.scatter_(1, places, window.expand(whole, -1))
        maps = (maps.movedim(axis, -1) @ rows.T).movedim(-1, axis)
    return maps


def volume_terms(fused: Tensor, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
    """Weighted terms of volumes (N, 1, D, H, W), each side at least 11 voxels.

    The first is minus the squared local correlation in cubes of 3 voxels, then 1 - SSIM in Gaussian
    windows of 11, and the mean distance.
    """
    kinds: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "correlation": _correlation,
        "similarity": dissimilarity,
        "distance": F.l1_loss,
    }
    return {
        name: REFERENCE * distance(fused, reference) + OTHER * distance(fused, other)
        for name, distance in kinds.items()
    }


def slice_terms(fused: Tensor, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
    """`volume_terms` of one volume, given as its slices (D, 1, H, W)."""
    return volume_terms(*(slices.movedim(0, 1)[None] for slices in (fused, reference, other)))


LOSSES: dict[str, Callable[[float], ScoreLoss | LegibleLoss]] = {
    "paper": lambda legibility: ScoreLoss(slice_terms),
    "legible": lambda legibility: LegibleLoss(slice_terms, legibility, lesions=BallMaker()),
}
"""By the weight of what a reader must see, which the paper's loss does not have."""
