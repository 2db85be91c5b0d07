"""Guided filter fusion (Li, Kang and Hu, IEEE Trans. Image Process. 22:2864-2875, 2013).

Each source is split into a base (31×31 mean) and a detail layer. Weights start as "whose
saliency is larger" and are smoothed by a guided filter whose guide is the source itself, widely
for the base and narrowly for the detail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
        sources = torch.cat([reference, other], dim=1)
        salient = saliency(sources)
        winner = (salient[:, :1] >= salient[:, 1:]).to(sources.dtype)
        winners = torch.cat([winner, 1 - winner], dim=1)
        base = box_mean(sources, BASE_WINDOW // 2)
        fused_base = _mixed(base, guided_filter(sources, winners, BASE_RADIUS, BASE_EPSILON))
        smooth_winners = guided_filter(sources, winners, DETAIL_RADIUS, DETAIL_EPSILON)
        return (fused_base + _mixed(sources - base, smooth_winners)).clamp(0, 1)


def _mixed(layers: Tensor, weights: Tensor) -> Tensor:
    """One layer of both sources, (N, 2, H, W), mixed by weights alike to (N, 1, H, W)."""
    one, two = weights.clamp(0, 1).chunk(2, dim=1)
    total = one + two
    share = torch.where(total > 0, one / total.clamp_min(1e-12), 0.5)
    return torch.lerp(layers[:, 1:], layers[:, :1], share)


def saliency(image: Tensor) -> Tensor:
    """Absolute Laplacian, smoothed by a Gaussian (radius 5, σ 5); (N, C, H, W) of any range."""
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
        total.add_(image.narrow(axis, start, length), alpha=tap)
    return total.div_(sum(taps))


def guided_filter(guide: Tensor, source: Tensor, radius: int, epsilon: float) -> Tensor:
    """Guided filter of He, Sun and Tang (IEEE TPAMI 35:1397, 2013), grey guide.

    ``guide`` and ``source`` are (N, C, H, W), channel by channel; windows are squares of side
    2·radius + 1, cut at the border. A source equal to a linear function of the guide comes back
    unchanged as ``epsilon`` goes to zero.
    """
    moments = torch.cat([guide, source, guide * source, guide * guide], dim=1)
    mean_guide, mean_source, mean_product, mean_square = box_mean(moments, radius).chunk(4, dim=1)
    covariance = mean_product - mean_guide * mean_source
    variance = (mean_square - mean_guide * mean_guide).clamp_min(0)
    slope = covariance / (variance + epsilon)
    intercept = mean_source - slope * mean_guide
    slope, intercept = box_mean(torch.cat([slope, intercept], dim=1), radius).chunk(2, dim=1)
    return torch.addcmul(intercept, slope, guide)


def box_mean(image: Tensor, radius: int) -> Tensor:
    """Mean over the part of the (2·radius + 1)² window that lies inside the image."""
    sums = _window_sums(_window_sums(image, radius, -2), radius, -1)
    rows, columns = (_window_lengths(length, radius, image) for length in image.shape[-2:])
    return sums * (1 / (rows[:, None] * columns)).to(image.dtype)


def _window_sums(image: Tensor, radius: int, axis: int) -> Tensor:
    """Sums over 2·radius + 1 neighbours along one axis, those outside counting as zeros.

    By doubling: two neighbouring windows make one of twice the length, so that 91 values take ten
    additions. All values are added and none subtracted, which keeps single precision exact enough.
    """
    sums = functional.pad(image, (radius, radius) if axis == -1 else (0, 0, radius, radius))
    singles, width = sums, 1
    for bit in bin(2 * radius + 1)[3:]:
        sums, width = _joined(sums, sums, width, axis), 2 * width
        if bit == "1":
            sums, width = _joined(sums, singles, width, axis), width + 1
    return sums


def _joined(first: Tensor, second: Tensor, width: int, axis: int) -> Tensor:
    """Sums of windows of ``width`` values and of what begins right behind each."""
    length = second.shape[axis] - width
    return first.narrow(axis, 0, length) + second.narrow(axis, width, length)


def _window_lengths(length: int, radius: int, like: Tensor) -> Tensor:
    """How much of the window at each place of an axis lies inside; float64."""
    places = torch.arange(length, device=like.device, dtype=torch.float64)
    return (places + radius).clamp_max(length - 1) - (places - radius).clamp_min(0) + 1


def create(device: torch.device) -> GuidedFilter:
    """The method has no state, so any device will do."""
    return GuidedFilter()
