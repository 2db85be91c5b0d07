"""A small U-shaped network that gives the gains of ``weighted_bands``.

It works at a half, a quarter and an eighth of the slice's resolution and has no normalisation, so
that a slice's result does not depend on its batch, nor on what fills the rest of the image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from MedFusionLib.methods.weighted_bands import FoldedBands

FOLD = 2
"""Every square of FOLD x FOLD pixels becomes the channels of one."""


class ConvolutionPair(nn.Sequential):
    """Two 3×3 convolutions with SiLU; the first may halve the resolution."""

    def __init__(self, width_in: int, width: int, step: int = 1) -> None:
        super().__init__(
            nn.Conv2d(width_in, width, 3, stride=step, padding=1),
            nn.SiLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(inplace=True),
        )


class LiveFusion(nn.Module):
    """Reference and other, (N, 1, H, W) in [0, 1] each, to the fused slices in [0, 1].

    H and W must be multiples of ``stride``.

    Args:
        widths: channels at a half, a quarter and an eighth of the resolution.
    """

    stride = FOLD * 4

    def __init__(self, widths: tuple[int, int, int] = (24, 32, 48)) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.widths = (fine, middle, coarse)
        self.fine = ConvolutionPair(2 * FOLD**2, fine)
        self.middle = ConvolutionPair(fine, middle, step=2)
        self.coarse = ConvolutionPair(middle, coarse, step=2)
        self.coarse_to_middle = nn.Conv2d(coarse, middle, 1)
        self.join_middle = ConvolutionPair(middle, middle)
        self.middle_to_fine = nn.Conv2d(middle, fine, 1)
        self.join_fine = ConvolutionPair(fine, fine)
        self.gains = nn.Conv2d(fine, FoldedBands.channels, 3, padding=1)
        self.output = FoldedBands()

    def forward(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.output.cut(self.uncut(reference, other), other, reference)

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        """The fused slices before they are cut to the range that can be shown."""
        images = torch.cat([reference, other], dim=1)
        fine = self.fine(functional.pixel_unshuffle(images, FOLD))
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        middle = self.join_middle(middle + _doubled(self.coarse_to_middle(coarse)))
        fine = self.join_fine(fine + _doubled(self.middle_to_fine(middle)))
        return self.output.uncut(self.gains(fine), other, reference)


def _doubled(maps: Tensor) -> Tensor:
    return functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
