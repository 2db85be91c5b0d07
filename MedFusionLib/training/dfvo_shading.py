"""Made bias fields: how a surface coil or a non-uniform excitation darkens a part of an MR."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

DEEPEST = 0.6
"""The largest share of brightness that a made field takes away."""
SHADED_SHARE = 0.6
"""Share of images that are darkened; the rest teach that an evenly lit MR stays as it is."""
_KNOTS = 3


def made_shading(images: Tensor) -> Tensor:
    """A smooth factor in (0, 1] for each of images (N, 1, H, W), drawn at random.

    1 everywhere for some; otherwise interpolated between 3×3 random knots, with a random depth.
    """
    count, device = len(images), images.device
    knots = torch.rand(count, 1, _KNOTS, _KNOTS, device=device)
    taken = F.interpolate(knots, images.shape[-2:], mode="bicubic", align_corners=True).clamp(0, 1)
    chosen = (torch.rand(count, 1, 1, 1, device=device) < SHADED_SHARE).to(images)
    depth = DEEPEST * chosen * torch.rand(count, 1, 1, 1, device=device).sqrt()
    return 1 - depth * taken


def fixed_shading(images: Tensor) -> Tensor:
    """One period of a cosine over the width of images (N, 1, H, W): 1 outside, darkest inside."""
    places = torch.linspace(0, 2 * math.pi, images.shape[-1], device=images.device)
    return (1 - DEEPEST / 2 * (1 - places.cos())).expand_as(images)
