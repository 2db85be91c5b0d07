"""Made bias fields: how a surface coil or a non-uniform excitation darkens a part of an MR."""

from __future__ import annotations

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
