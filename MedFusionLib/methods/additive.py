"""Both sources' detail over what is smooth in either, without any training.

Where both sources are bright at large, what they have in common there is shown once; all smaller
structures of both are added, so that a lesion of either arrives with nearly its full contrast. A
choice of the stronger source, pixel by pixel, would lose the other's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from MedFusionLib.methods.blocks.smooth_step import smooth_step
from MedFusionLib.methods.weighted_bands import gaussian

COMMON = 30.0
"""Pixels (standard deviation): what is smoother than this is shown once."""
FINEST = 1.0
"""Pixels: of detail finer than this the stronger is shown, as no lesion is so small."""
BONE = (0.8, 0.95)
"""Values of the other source between which it takes over: bone in a CT is shown as it is."""
ANATOMY_IN_BONE = 0.25
"""Share of the reference's detail that is shown over bone."""
_BRIGHTEST = 1.5
"""The result is at most so many times the sum of the sources."""


class Additive:
    """Sum of two sources minus what is smooth in both, solid where the other is bone."""

    name = "additive"
    stride = 1

    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        """Fuse two batches (N, 1, H, W) in [0, 1]."""
        common = torch.minimum(gaussian(reference, COMMON), gaussian(other, COMMON))
        added = reference + other - common - _weaker_fine_detail(reference, other)
        bone = other + ANATOMY_IN_BONE * (reference - gaussian(reference, 6.0))
        shown = torch.lerp(added, bone, smooth_step(other, *BONE))
        return torch.minimum(shown.clamp(0, 1), _BRIGHTEST * (reference + other))


def _weaker_fine_detail(reference: Tensor, other: Tensor) -> Tensor:
    one, two = (image - gaussian(image, FINEST) for image in (reference, other))
    return torch.where(one.abs() > two.abs(), two, one)


def create(device: torch.device) -> Additive:
    """The method has no state, so any device will do."""
    return Additive()
