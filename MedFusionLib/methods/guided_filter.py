"""Guided filter fusion (Li, Kang and Hu, IEEE Trans. Image Process. 22:2864-2875, 2013).

Each source is split into a base (31×31 mean) and a detail layer. Weights start as "whose
saliency is larger" and are smoothed by a guided filter whose guide is the source itself, widely
for the base and narrowly for the detail.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

BASE_WINDOW = 31
SALIENCY_RADIUS, SALIENCY_SIGMA = 5, 5.0
BASE_RADIUS, BASE_EPSILON = 45, 0.3
DETAIL_RADIUS, DETAIL_EPSILON = 7, 1e-6


class GuidedFilter:
    """Two-scale fusion with the paper's parameters (r1 = 45, ε1 = 0.3, r2 = 7, ε2 = 1e-6)."""

    name = "guided-filter"
    stride = 1

    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        """Fuse two batches (N, 1, H, W) in [0, 1]."""
        winner = (saliency(reference) >= saliency(other)).to(reference.dtype)
        base = _weighted(reference, other, winner, BASE_RADIUS, BASE_EPSILON, _base)
        detail = _weighted(reference, other, winner, DETAIL_RADIUS, DETAIL_EPSILON, _detail)
        return (base + detail).clamp(0, 1)


def _base(image: Tensor) -> Tensor:
    return box_mean(image, BASE_WINDOW // 2)


def _detail(image: Tensor) -> Tensor:
    return image - _base(image)


def _weighted(
    reference: Tensor,
    other: Tensor,
    winner: Tensor,
    radius: int,
    epsilon: float,
    layer: Callable[[Tensor], Tensor],
) -> Tensor:
    """Mix one layer of both sources with weights smoothed along their own edges."""
    one = guided_filter(reference, winner, radius, epsilon).clamp(0, 1)
    two = guided_filter(other, 1 - winner, radius, epsilon).clamp(0, 1)
    total = one + two
    share = torch.where(total > 0, one / total.clamp_min(1e-12), torch.full_like(one, 0.5))
    return share * layer(reference) + (1 - share) * layer(other)


def saliency(image: Tensor) -> Tensor:
    """Absolute Laplacian, smoothed by a Gaussian (radius 5, σ 5); (N, 1, H, W) of any range."""
    padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    neighbours = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    neighbours = neighbours + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
    laplacian = (neighbours - 4 * image).abs()
    offsets = range(-SALIENCY_RADIUS, SALIENCY_RADIUS + 1)
    taps = [math.exp(-(offset**2) / (2 * SALIENCY_SIGMA**2)) for offset in offsets]
    smooth = functional.pad(laplacian, (SALIENCY_RADIUS,) * 4, mode="replicate")
    return _weighted_sum(_weighted_sum(smooth, taps, -2), taps, -1)


def _weighted_sum(image: Tensor, taps: list[float], axis: int) -> Tensor:
    """Normalised filter along one axis, as a sum of shifted images.

    A convolution picks its algorithm by batch size and rounds differently with each; this sum
    gives a slice the same bits in whatever batch it travels.
    """
    length = image.shape[axis] - len(taps) + 1
    total = taps[0] * image.narrow(axis, 0, length)
    for start, tap in enumerate(taps[1:], start=1):
        total = total + tap * image.narrow(axis, start, length)
    return total / sum(taps)


def guided_filter(guide: Tensor, source: Tensor, radius: int, epsilon: float) -> Tensor:
    """Guided filter of He, Sun and Tang (IEEE TPAMI 35:1397, 2013), grey guide.

    ``guide`` and ``source`` are (N, 1, H, W); windows are squares of side 2·radius + 1, cut at
    the border. A source equal to a linear function of the guide comes back unchanged as
    ``epsilon`` goes to zero.
    """
    mean_guide, mean_source = box_mean(guide, radius), box_mean(source, radius)
    covariance = box_mean(guide * source, radius) - mean_guide * mean_source
    variance = (box_mean(guide * guide, radius) - mean_guide**2).clamp_min(0)
    slope = covariance / (variance + epsilon)
    intercept = mean_source - slope * mean_guide
    return box_mean(slope, radius) * guide + box_mean(intercept, radius)


def box_mean(image: Tensor, radius: int) -> Tensor:
    """Mean over the part of the (2·radius + 1)² window that lies inside the image."""
    # In double against cancellation: a window's sum is the difference of two running totals.
    sums = _window_sums(_window_sums(image.to(torch.float64), radius, -1), radius, -2)
    rows, columns = (_window_lengths(length, radius, image) for length in image.shape[-2:])
    return (sums / (rows[:, None] * columns)).to(image.dtype)


def _window_sums(image: Tensor, radius: int, axis: int) -> Tensor:
    """Sliding sums along one axis from running totals, by slices: gathering costs three times."""
    totals = image.cumsum(axis)
    length = totals.shape[axis]
    inside = max(length - radius, 0)
    last = totals.narrow(axis, length - 1, 1)
    beyond = [last] * min(radius, length)
    sums = torch.cat([totals.narrow(axis, length - inside, inside), *beyond], axis)
    if inside > 1:
        before = totals.narrow(axis, 0, inside - 1)
        sums.narrow(axis, length - inside + 1, inside - 1).sub_(before)
    return sums


def _window_lengths(length: int, radius: int, like: Tensor) -> Tensor:
    """How much of the window at each place of an axis lies inside; float64."""
    places = torch.arange(length, device=like.device, dtype=torch.float64)
    return (places + radius).clamp_max(length - 1) - (places - radius).clamp_min(0) + 1


def create(device: torch.device) -> GuidedFilter:
    """The method has no state, so any device will do."""
    return GuidedFilter()
