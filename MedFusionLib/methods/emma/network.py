"""The U-Fuser of EMMA: two encoders, a fusion at each of four levels, one decoder.

Zhao et al., CVPR 2024. Maps are (N, C, H, W); a level has half the side of the one before.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.blocks.restormer import global_feature_block
from MedFusionLib.methods.blocks.sizes import refuse_sizes_below_two_strides
from MedFusionLib.methods.emma.architecture import Architecture
from MedFusionLib.methods.emma.outputs import build_output


def _convolution(channels_in: int, channels: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """3×3, the border mirrored."""
    return nn.Conv2d(
        channels_in, channels, 3, stride=stride, padding=1, bias=bias, padding_mode="reflect"
    )


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions whose result is added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels, bias=True)
        self.second = _convolution(channels, channels, bias=True)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.second(F.relu(self.first(maps)))


class GlobalAndLocal(nn.Module):
    """What all pixels of a map have in common, beside what neighbours have."""

    def __init__(self, channels_in: int, channels: int, architecture: Architecture) -> None:
        super().__init__()
        groups = 3 * channels if architecture.mixing == "depthwise" else 1
        self.embedding = _convolution(channels_in, channels)
        self.global_features = global_feature_block(
            channels, architecture.heads, border="reflect", mixing_groups=groups
        )
        self.local_features = nn.Sequential(
            *(ResidualBlock(channels) for _ in range(architecture.local_blocks))
        )
        self.joining = _convolution(2 * channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.embedding(maps)
        both = torch.cat([self.global_features(maps), self.local_features(maps)], dim=1)
        return self.joining(both)


class Encoder(nn.Module):
    """Maps of one image at four levels, the finest first."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths = architecture.widths
        self.levels = nn.ModuleList(
            GlobalAndLocal(before, width, architecture)
            for before, width in zip((architecture.fold**2, *widths), widths, strict=False)
        )
        self.halvings = nn.ModuleList(_convolution(width, width, stride=2) for width in widths[:-1])

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [self.levels[0](image)]
        for level, halving in zip(self.levels[1:], self.halvings, strict=True):
            maps.append(level(halving(maps[-1])))
        return maps


class Doubling(nn.Module):
    """Twice the side, by a transposed 4×4 convolution."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.convolution = nn.ConvTranspose2d(channels_in, channels, 4, 2, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(self.convolution(maps))


class UFuser(nn.Module):
    """The whole network: reference and other (N, 1, H, W) in [0, 1] to the fused slices in [0, 1].

    The reference (MR) has the place of the authors' visible image, the other that of their
    infrared one. H and W must be multiples of ``architecture.stride``, and at least twice that: a
    border can be mirrored only where a map is two pixels wide.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        widths = architecture.widths
        self.reference_encoder = Encoder(architecture)
        self.other_encoder = Encoder(architecture)
        self.fusions = nn.ModuleList(
            GlobalAndLocal(2 * width, width, architecture) for width in widths
        )
        # A level's decoder sees its fused maps and those of the coarser level, doubled.
        self.decoders = nn.ModuleList(
            GlobalAndLocal(width if level == len(widths) - 1 else 2 * width, width, architecture)
            for level, width in enumerate(widths)
        )
        self.doublings = nn.ModuleList(Doubling(coarse, fine) for fine, coarse in pairwise(widths))
        self.output = build_output(architecture)
        self.projection = _convolution(widths[0], self.output.channels, bias=True)

    def forward(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.output.cut(self.uncut(reference, other), other, reference)

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        """The fused slices before they are cut to the range that can be shown."""
        refuse_sizes_below_two_strides("EMMA", reference, self.architecture.stride)
        fused = self.fused_maps(reference, other)
        maps = self.decoders[-1](fused[-1])
        for level in reversed(range(len(fused) - 1)):
            doubled = self.doublings[level](maps)
            maps = self.decoders[level](torch.cat([doubled, fused[level]], dim=1))
        # The digits of half precision would show in the image: the last step keeps more.
        with torch.autocast(maps.device.type, enabled=False):
            last = self.projection(maps.to(self.projection.weight.dtype))
            return self.output.uncut(last, other, reference)

    def fused_maps(self, reference: Tensor, other: Tensor) -> list[Tensor]:
        """The fused maps of each level, the finest first."""
        fold = self.architecture.fold
        of_reference = self.reference_encoder(F.pixel_unshuffle(reference, fold))
        of_other = self.other_encoder(F.pixel_unshuffle(other, fold))
        return [
            fusion(torch.cat(pair, dim=1))
            for fusion, *pair in zip(self.fusions, of_other, of_reference, strict=True)
        ]
