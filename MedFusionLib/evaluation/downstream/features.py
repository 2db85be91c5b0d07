"""A slice as a few fixed numbers: nothing of them is learned, so nothing can leak through them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

GRID = 8
"""Cells along each side of the slice."""
BINS = 16
DARK = 0.05
"""Of the range: what is darker is taken as background."""


def slice_features(grey: np.ndarray) -> np.ndarray:
    """(176,) numbers of a slice (H, W), uint8, whatever its size.

    Of an 8×8 grid: mean and standard deviation of each cell, and the difference of each cell to
    its mirror image on the other side of the middle; and a histogram of what is no background.
    """
    image = torch.from_numpy(grey.astype(np.float32) / 255)
    means = _pooled(image)
    spread = (_pooled(image * image) - means * means).clamp(min=0).sqrt()
    sides = (means - means.flip(1)).abs()[:, : GRID // 2]
    inside = image[image > DARK]
    counts = torch.histc(inside, BINS, min=DARK, max=1) / max(inside.numel(), 1)
    return torch.cat([part.flatten() for part in (means, spread, sides, counts)]).numpy()


def _pooled(image: Tensor) -> Tensor:
    return functional.adaptive_avg_pool2d(image[None], GRID)[0]
