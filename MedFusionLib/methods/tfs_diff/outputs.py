"""What the network's maps say of the clean image that is to be drawn.

The published network predicts the noise in a noisy image. The compact preset reads its maps as
gains on the sources' own bands of detail, which make the clean image: whatever noise a drawing
begins with, it can show nothing that no source has.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from MedFusionLib.methods.dmfnet.diffusion import Denoiser
from MedFusionLib.methods.tfs_diff.architecture import SOURCES, Architecture
from MedFusionLib.methods.weighted_bands import (
    HIGHEST_GAIN,
    FoldedBands,
    folded_channels,
    folded_start,
    split,
)

Maps = Denoiser
"""Maps noisy images and their noise levels to the network's maps."""


class NoiseOutput(nn.Module):
    """The maps are the noise itself; the fused image is what is left."""

    target = "noise"

    def __init__(self, colours: int) -> None:
        super().__init__()
        self.channels = colours

    def denoiser(self, maps: Maps, sources: Tensor) -> Denoiser:
        return maps

    def shown(self, drawn: Tensor, sources: Tensor) -> Tensor:
        """The drawn images (N, colours, H, W) around [-1, 1] as grey slices in [0, 1]."""
        return ((drawn.mean(1, keepdim=True) + 1) / 2).clamp(0, 1)


class BandsOutput(FoldedBands):
    """Gains on the bands of three sources, and on the three smoothest images by their order.

    Those on the finest band are ``finest_gain`` times a share, so that sources of half the
    resolution could be sharpened. What was learned is to strengthen the raster of a SPECT; so that
    band is shown at most as it stands in its source.
    """

    sources = SOURCES
    channels = folded_channels(SOURCES)
    target = "clean"

    def __init__(self, finest_gain: float = HIGHEST_GAIN) -> None:
        super().__init__()
        self.finest_gain = finest_gain
        start = folded_start(SOURCES)
        self.finest_limit = -math.log(finest_gain - 1)  # a gain of 1
        self.start = (*[self.finest_limit] * (4 * SOURCES), *start[4 * SOURCES :])

    def unfolded(self, fine: Tensor) -> Tensor:
        finest, second = super().unfolded(fine).split(SOURCES, dim=1)
        return torch.cat([finest.clamp(max=self.finest_limit), second], dim=1)

    def denoiser(self, maps: Maps, sources: Tensor) -> Denoiser:
        """What predicts the clean image in [-1, 1], as yet uncut; sources (N, 3, H, W)."""
        bands, smoothest = split(sources)
        bands[0] = bands[0] * (self.finest_gain / HIGHEST_GAIN)

        def predict(noisy: Tensor, noise_level: Tensor) -> Tensor:
            return 2 * self.weighed(maps(noisy, noise_level), bands, smoothest) - 1

        return predict

    def shown(self, drawn: Tensor, sources: Tensor) -> Tensor:
        """The drawn images (N, 1, H, W) within what the sources (N, 3, H, W) allow, in [0, 1]."""
        return self.cut((drawn + 1) / 2, *sources.split(1, dim=1))

    def base(self, shares: Tensor, smoothest: Tensor) -> Tensor:
        brightest, darkest = smoothest.amax(1, keepdim=True), smoothest.amin(1, keepdim=True)
        middle = smoothest.sum(1, keepdim=True) - brightest - darkest
        ranked = torch.cat([brightest, middle, darkest], dim=1)
        return (shares * ranked).sum(1, keepdim=True)


def build_output(architecture: Architecture) -> NoiseOutput | BandsOutput:
    """The output that an architecture names."""
    if architecture.output == "weighted bands":
        return BandsOutput(architecture.finest_gain)
    return NoiseOutput(architecture.colours)
