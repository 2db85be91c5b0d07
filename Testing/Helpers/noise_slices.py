"""Slices of noise beside empty space."""

from __future__ import annotations

import torch
from torch import Tensor


def slices(count: int, height: int = 70, width: int = 53) -> tuple[Tensor, Tensor]:
    """Reference and other, (count, 1, height, width) each; the first 16 columns are black."""
    generator = torch.Generator().manual_seed(count)
    reference, other = torch.rand(2, count, 1, height, width, generator=generator)
    reference[..., :16] = other[..., :16] = 0
    return reference, other
