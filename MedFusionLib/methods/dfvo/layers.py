"""Encoder, decoder and illumination network of DFVO, all from 3×3 convolutions.

Maps are (N, C, H, W); nothing here changes H and W.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.dfvo.architecture import Architecture

SLOPE = 0.2
"""Of the leaky ReLU below zero."""
DARKEST = 1 / 3
"""The least illumination of the enhanced bands: nothing is made more than three times brighter."""


def brightest_around(maps: Tensor) -> Tensor:
    """The largest of each 3×3 pixels of every map."""
    return F.max_pool2d(maps, 3, stride=1, padding=1)


class Block(nn.Module):
    """A convolution, or a transposed one, then batch norm and leaky ReLU."""

    def __init__(self, convolution: nn.Module, channels: int, momentum: float) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = nn.BatchNorm2d(channels, momentum=momentum)

    def forward(self, maps: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.convolution(maps)), SLOPE)


def encoder(widths: Sequence[int], momentum: float) -> nn.Sequential:
    """From ``widths[0]`` maps to ``widths[-1]``."""
    return nn.Sequential(
        *(
            Block(nn.Conv2d(before, width, 3, padding=1), width, momentum)
            for before, width in pairwise(widths)
        )
    )


class Decoder(nn.Module):
    """From ``widths[0]`` maps to ``widths[-1]``, then a plain convolution to ``channels``."""

    def __init__(self, widths: Sequence[int], channels: int, momentum: float) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                Block(nn.ConvTranspose2d(before, width, 3, padding=1), width, momentum)
                for before, width in pairwise(widths)
            )
        )
        self.projection = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        hidden = self.blocks(maps)
        # The digits of half precision would show in the image: the last step keeps more.
        with torch.autocast(hidden.device.type, enabled=False):
            return self.projection(hidden.to(self.projection.weight.dtype))


class Illumination(nn.Module):
    """How brightly each place of an image (N, 1, H, W) is lit, in [0, 1].

    A cell larger than one pixel sees the image at that much smaller a size: what it finds is as
    smooth as a bias field.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths, momentum = architecture.illumination_widths, architecture.norm_momentum
        self.cell = architecture.illumination_cell
        self.encoder = encoder((1, *widths), momentum)
        halves = [width // 2 for width in reversed(widths)]
        self.decoder = Decoder((widths[-1], *halves), 1, momentum)

    def forward(self, image: Tensor) -> Tensor:
        if self.cell == 1:
            return self._found(image)
        found = self._found(F.avg_pool2d(image, self.cell))
        return F.interpolate(found, scale_factor=self.cell, mode="bilinear", align_corners=False)

    def _found(self, image: Tensor) -> Tensor:
        first, *between, last = self.encoder
        maps = brightest_around(first(image))
        for block in between:
            maps = block(maps)
        return torch.sigmoid(self.decoder(brightest_around(last(maps))))


class Enhancement(nn.Module):
    """An image divided by its illumination: Land's Retinex, J. Opt. Soc. Am. 61:1, 1971."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.estimate = Illumination(architecture)

    def illumination(self, image: Tensor) -> Tensor:
        """Between a third, where the image is to be three times brighter, and 1."""
        return DARKEST + (1 - DARKEST) * self.estimate(image)

    def forward(self, image: Tensor) -> Tensor:
        """The enhanced image, which may exceed 1; black stays black."""
        return image / self.illumination(image)
