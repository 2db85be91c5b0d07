"""Filters of slices (N, H, W) that the metrics share."""

from __future__ import annotations

import torch
from torch import Tensor


def filtered(images: Tensor, window: Tensor) -> Tensor:
    """Separable filter with a 1-D window, only where the window lies fully inside.

    As two products with banded matrices: PyTorch's float64 convolution is ten times slower.
    """
    height, width = images.shape[-2:]
    return _band(window, height) @ (images @ _band(window, width).T)


def _band(window: Tensor, length: int) -> Tensor:
    """(length - taps + 1, length): row i holds the window at columns i and onwards."""
    taps = window.numel()
    rows = torch.arange(length - taps + 1, device=window.device)[:, None]
    columns = rows + torch.arange(taps, device=window.device)
    band = torch.zeros(length - taps + 1, length, dtype=window.dtype, device=window.device)
    return band.scatter_(1, columns, window.expand(rows.shape[0], taps).contiguous())


def gaussian_window(size: int, like: Tensor) -> Tensor:
    """1-D Gaussian of `size` taps with sigma size/5 and sum 1; type and device of `like`."""
    position = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    weights = torch.exp(-position.square() / (2 * (size / 5) ** 2))
    return weights / weights.sum()


def sobel(padded: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical Sobel slope, (N, H, W) each, of slices padded to (N, H+2, W+2).

    The kernels are [1 2 1] times [-1 0 1] across and [1 0 -1] down, not divided by 8.
    """
    above, beside, below = padded[:, :-2], padded[:, 1:-1], padded[:, 2:]
    columns, rows = above + 2 * beside + below, above - below
    horizontal = columns[..., 2:] - columns[..., :-2]
    vertical = rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]
    return horizontal, vertical
