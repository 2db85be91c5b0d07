"""Measures that the metrics of single slices do not show: flicker, leaks, hues, invented edges.

All take float tensors on the scale 0..255: stacks (N, H, W) of neighbouring slices, or colour
stacks (N, H, W, 3). They are definitions of this project, made so that a plain pointwise rule such
as the average or the maximum scores perfectly and a departure from that means something.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from MedFusionLib.evaluation import metrics
from MedFusionLib.evaluation.filters import sobel

BACKGROUND_LEVEL = 5.0
"""Grey values up to this (2 % of the range) count as background: air is rarely exactly 0."""
EDGE_LEVEL = 10.0
"""Grey values per pixel from which a slope is an edge. Noise of up to 6 grey values (standard
deviation) stays below it: its Sobel slope has a spread of 0.43 of that along each axis."""
EDGE_REACH = 2
"""Pixels by which an edge may have moved from a source to the fused slice."""
STREAK_WIDTH = 9
"""Pixels over which a streak is at least as long."""
CHROMA_LEVEL = 0.02 * 255
"""Distance from grey, in the plane of Cb and Cr, from which a colour has a hue."""


def flicker(fused: Tensor, reference: Tensor, other: Tensor) -> float:
    """Mean |F[k+1] - F[k]| over mean max(|A[k+1] - A[k]|, |B[k+1] - B[k]|), for (N, H, W).

    1 is no added flicker: no rule that treats each pixel alike (average, maximum, a weighted sum)
    can exceed it, because it changes from slice to slice by no more than the source that changes
    more. Above 1 the method itself flickers, for example by a scale of its own for each slice.
    Range 0..inf, lower is better, but far below 1 content is lost. Nan for a single slice or
    sources that do not change.
    """
    of_sources = torch.maximum(reference.diff(dim=0).abs(), other.diff(dim=0).abs())
    return _ratio(fused.diff(dim=0).abs().sum(), of_sources.sum())


def streaks(fused: Tensor, reference: Tensor, other: Tensor) -> float:
    """Streak energy of F over the larger one of the sources, for (N, H, W).

    A slice that is treated otherwise than its neighbours is a streak in the two planes across. Its
    energy is the root mean square of S[k-1] - 2 S[k] + S[k+1], where S is the stack smoothed within
    its slices by a square of 9x9 pixels: a streak is long, anatomy is not. At most 1 for a weighted
    mean of the sources; above 1 the fused volume has more than either. Range 0..inf, lower is
    better, but far below 1 content is lost. Nan for fewer than three slices or sources without any.
    """
    if len(fused) < 3:
        return math.nan
    energies = [_streak_energy(stack) for stack in (fused, reference, other)]
    return _ratio(energies[0], torch.maximum(energies[1], energies[2]))


def _streak_energy(stack: Tensor) -> Tensor:
    smooth = functional.avg_pool2d(stack[:, None], STREAK_WIDTH, 1, STREAK_WIDTH // 2)
    return smooth.diff(n=2, dim=0).square().mean().sqrt()


def background_leak(fused: Tensor, reference: Tensor, other: Tensor) -> float:
    """Share of the fused energy, sum(F^2), that lies where both sources are background.

    Background: grey value <= 5 in both. Range 0..1, 0 is best: whatever is lit there was invented.
    Nan for an empty fused image.
    """
    background = torch.maximum(reference, other) <= BACKGROUND_LEVEL
    energy = fused.square()
    return _ratio((energy * background).sum(), energy.sum())


def invented_edges(fused: Tensor, reference: Tensor, other: Tensor) -> float:
    """Share of fused edge pixels that stand in neither source within 2 pixels, for (N, H, W).

    An edge pixel of the fused slice has a Sobel slope (kernel/8) of at least 10 grey values per
    pixel, which is above the noise of the usual images. It stands in a source if that has a slope
    of at least half as much within a square of 5x5 pixels: a method may sharpen or move an edge a
    little, not make one. Range 0..1, 0 is best; nan if there is no fused edge.
    """
    edges = _slope(fused) >= EDGE_LEVEL
    in_sources = torch.maximum(_slope(reference), _slope(other)) >= EDGE_LEVEL / 2
    near = functional.max_pool2d(
        in_sources.double()[:, None], 2 * EDGE_REACH + 1, stride=1, padding=EDGE_REACH
    )[:, 0]
    return _ratio((edges & (near == 0)).sum().double(), edges.sum().double())


def hue_error(fused_colour: Tensor, source_colour: Tensor) -> float:
    """Mean angle in degrees between the hues of a colour result and of its functional source.

    (..., 3) RGB; the hue is the angle in the plane of Cb and Cr (ITU-R BT.601), taken where both
    images have a chroma of at least 2 % of the range and weighted by the source's chroma. Range
    0..180, 0 is best: hue is what a reader of a functional image reads. Nan without such pixels.
    """
    fused_plane, source_plane = _chrominance(fused_colour), _chrominance(source_colour)
    chroma = torch.hypot(source_plane[0], source_plane[1])
    coloured = (torch.hypot(*fused_plane) >= CHROMA_LEVEL) & (chroma >= CHROMA_LEVEL)
    turn = torch.atan2(fused_plane[1], fused_plane[0])
    turn = (turn - torch.atan2(source_plane[1], source_plane[0])).abs()
    turn = torch.minimum(turn, 2 * math.pi - turn)
    weights = chroma * coloured
    return math.degrees(_ratio((turn * weights).sum(), weights.sum()))


def entropy_inside_head(fused: Tensor, reference: Tensor, other: Tensor) -> float:
    """EN in bit over the pixels where a source is above the background, so that air is not counted.

    Range 0..8. Nan if there is no such pixel.
    """
    inside = fused[torch.maximum(reference, other) > BACKGROUND_LEVEL]
    return float(metrics.entropy(inside[None])) if inside.numel() else math.nan


def grey_measures(fused: Tensor, reference: Tensor, other: Tensor) -> dict[str, float]:
    """All measures of a grey stack (N, H, W), by name."""
    return {
        "flicker": flicker(fused, reference, other),
        "streaks": streaks(fused, reference, other),
        "background_leak": background_leak(fused, reference, other),
        "invented_edges": invented_edges(fused, reference, other),
        "entropy_inside_head": entropy_inside_head(fused, reference, other),
    }


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part / whole) if float(whole) > 0 else math.nan


def _slope(images: Tensor) -> Tensor:
    """Sobel slope in grey values per pixel; the border repeats, so that it is no edge itself."""
    padded = functional.pad(images[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    horizontal, vertical = sobel(padded)
    return torch.hypot(horizontal, vertical) / 8


def _chrominance(colour: Tensor) -> tuple[Tensor, Tensor]:
    """Cb and Cr of RGB (..., 3), ITU-R BT.601 full range, on the scale of the input."""
    red, green, blue = colour.double().unbind(dim=-1)
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    return (blue - light) / 1.772, (red - light) / 1.402
