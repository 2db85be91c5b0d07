"""A dense autoencoder that is pooled by wavelets: fine bands pass it by, and none is lost.

After arXiv 2310.11910, of which only the abstract was at hand: wavelet pooling with channel
attention between dense blocks is the paper's, all widths and rules are our own. Maps are
(N, C, H, W); a level has half the side of the one before.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.blocks.channel_attention import ChannelAttention
from MedFusionLib.methods.blocks.haar import Details, haar, inverse_haar
from MedFusionLib.methods.blocks.sizes import refuse_sizes_below_two_strides
from MedFusionLib.methods.wavelet.architecture import Architecture
from MedFusionLib.methods.wavelet.fusion import by_activity, by_magnitude


def _convolution(channels_in: int, channels: int) -> nn.Conv2d:
    """3×3, the border mirrored."""
    return nn.Conv2d(channels_in, channels, 3, padding=1, padding_mode="reflect")


class DenseBlock(nn.Module):
    """Each convolution sees the maps of all before it; all of them are the result."""

    def __init__(self, channels: int, architecture: Architecture) -> None:
        super().__init__()
        growth = architecture.growth
        self.convolutions = nn.ModuleList(
            _convolution(channels + number * growth, growth)
            for number in range(architecture.convolutions)
        )

    def forward(self, maps: Tensor) -> Tensor:
        for convolution in self.convolutions:
            maps = torch.cat([maps, F.relu(convolution(maps))], dim=1)
        return maps


class WaveletPooling(nn.Module):
    """Half the side from all four bands, weighted by attention, and the details as they are."""

    def __init__(self, channels: int, architecture: Architecture) -> None:
        super().__init__()
        self.attention = ChannelAttention(4 * channels, architecture.reduction)
        self.projection = nn.Conv2d(4 * channels, architecture.pooled, 1)

    def forward(self, maps: Tensor) -> tuple[Tensor, Details]:
        smooth, details = haar(maps)
        bands = torch.cat([smooth, *details], dim=1)
        return self.projection(bands * torch.sigmoid(self.attention(bands))), details


class WaveletUnpooling(nn.Module):
    """Twice the side: the smooth band is predicted, the details are the encoder's."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.smooth = nn.Conv2d(channels_in, channels, 1)

    def forward(self, maps: Tensor, details: Details) -> Tensor:
        return inverse_haar(self.smooth(maps), details)


class Features(NamedTuple):
    """What the decoder draws an image from."""

    bottom: Tensor
    """(N, C, H / stride, W / stride)."""
    details: list[Details]
    """Of each level, the finest first."""


class Encoder(nn.Module):
    """Features of images (N, 1, H, W) in [0, 1]; both sources pass through the same one."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths = architecture.widths
        self.stem = _convolution(1, architecture.first)
        starts = (architecture.first, *[architecture.pooled] * architecture.levels)
        self.blocks = nn.ModuleList(DenseBlock(start, architecture) for start in starts)
        self.poolings = nn.ModuleList(WaveletPooling(width, architecture) for width in widths[:-1])

    def forward(self, images: Tensor) -> Features:
        maps = self.blocks[0](F.relu(self.stem(images)))
        details = []
        for pooling, block in zip(self.poolings, self.blocks[1:], strict=True):
            maps, of_level = pooling(maps)
            details.append(of_level)
            maps = block(maps)
        return Features(maps, details)


class Decoder(nn.Module):
    """Features to an image (N, 1, H, W), not cut to the range that can be shown."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths, added = architecture.widths, architecture.added
        finer = reversed(widths[:-1])
        coarser = (widths[-1], *(width + added for width in reversed(widths[1:-1])))
        self.unpoolings = nn.ModuleList(
            WaveletUnpooling(before, width) for before, width in zip(coarser, finer, strict=True)
        )
        self.blocks = nn.ModuleList(
            DenseBlock(width, architecture) for width in reversed(widths[:-1])
        )
        self.projection = _convolution(widths[0] + added, 1)

    def forward(self, features: Features) -> Tensor:
        maps = features.bottom
        levels = zip(self.unpoolings, self.blocks, reversed(features.details), strict=True)
        for unpooling, block, details in levels:
            maps = block(unpooling(maps, details))
        # The digits of half precision would show in the image: the last step keeps more.
        with torch.autocast(maps.device.type, enabled=False):
            return self.projection(maps.to(self.projection.weight.dtype))


class WaveletAutoencoder(nn.Module):
    """The whole network: two images (N, 1, H, W) in [0, 1] to the fused ones in [0, 1].

    The order of the two does not matter. H and W must be multiples of ``architecture.stride``, and
    at least twice that: a border can be mirrored only where a map is two pixels wide.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = Encoder(architecture)
        self.decoder = Decoder(architecture)

    def forward(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.uncut(reference, other).clamp(0, 1)

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        """The fused images before they are cut to the range that can be shown."""
        return self.decoder(fused(self._encoded(reference), self._encoded(other)))

    def rebuilt(self, image: Tensor) -> Tensor:
        """One image from its own features, not cut: what the first stage of training learns."""
        return self.decoder(self._encoded(image))

    def _encoded(self, image: Tensor) -> Features:
        refuse_sizes_below_two_strides("The wavelet autoencoder", image, self.architecture.stride)
        return self.encoder(image)


def fused(first: Features, second: Features) -> Features:
    """The features of two images as those of one, by the rules of ``fusion``."""
    details = [
        Details(*(by_magnitude(*bands) for bands in zip(*of_level, strict=True)))
        for of_level in zip(first.details, second.details, strict=True)
    ]
    return Features(by_activity(first.bottom, second.bottom), details)
