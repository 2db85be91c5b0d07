"""The orthonormal Haar wavelet of maps (N, C, H, W), H and W even, and its exact inverse."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Details(NamedTuple):
    """What the smooth band of one level lacks, (N, C, H/2, W/2) each.

    With ``a b`` over ``c d`` for a square of 2×2 pixels, the smooth band is (a+b+c+d)/2.
    """

    horizontal: Tensor
    """(a-b+c-d)/2: differences along a row, which upright edges have."""
    vertical: Tensor
    """(a+b-c-d)/2."""
    diagonal: Tensor
    """(a-b-c+d)/2."""


def haar(maps: Tensor) -> tuple[Tensor, Details]:
    """The smooth band of maps and their details; no square reaches into another."""
    a, b, c, d = F.pixel_unshuffle(maps, 2).unflatten(1, (-1, 4)).unbind(2)
    left, right = a + c, b + d
    left_change, right_change = a - c, b - d
    details = Details(
        (left - right) / 2,
        (left_change + right_change) / 2,
        (left_change - right_change) / 2,
    )
    return (left + right) / 2, details


def inverse_haar(smooth: Tensor, details: Details) -> Tensor:
    """The maps (N, C, H, W) that have these bands."""
    horizontal, vertical, diagonal = details
    upper, lower = smooth + vertical, smooth - vertical
    upper_change, lower_change = horizontal + diagonal, horizontal - diagonal
    pixels = (
        (upper + upper_change) / 2,
        (upper - upper_change) / 2,
        (lower + lower_change) / 2,
        (lower - lower_change) / 2,
    )
    return F.pixel_shuffle(torch.stack(pixels, dim=2).flatten(1, 2), 2)
