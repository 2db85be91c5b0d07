"""CoCoNet: a U-Net over both images, which attends to what a frozen encoder sees of each.

Liu et al., IJCV 2024, arXiv 2211.10960; where the paper and the published model differ, this is the
published model. The attention and the joining at full resolution that stand unused in it are left
out. Maps are (N, C, H, W); a level has half the side of the one before.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.blocks.precision import at_least_single
from MedFusionLib.methods.blocks.sizes import refuse_other_sizes
from MedFusionLib.methods.coconet.architecture import Architecture
from MedFusionLib.methods.coconet.encoder import Encoder
from MedFusionLib.methods.coconet.outputs import build_output

_SLOPE = 0.2


def _step(channels_in: int, channels: int) -> nn.Sequential:
    """3×3 convolution, then the activation, then the normalisation: the authors' order."""
    return nn.Sequential(*_activated(channels_in, channels), nn.BatchNorm2d(channels))


def _activated(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels, 3, padding=1), nn.LeakyReLU(_SLOPE))


class ChannelAttention(nn.Module):
    """Maps that see each other: (N, C, H, W) to the same.

    As in Fu et al., "Dual attention network", CVPR 2019, with a convolution before each of the
    three inputs; maps that differ most attend most.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3)
        )
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, maps: Tensor) -> Tensor:
        query, key, value = (part(maps).flatten(2) for part in (self.query, self.key, self.value))
        # Sums of products over a whole slice exceed what half precision can hold.
        with torch.autocast(maps.device.type, enabled=False):
            energy = at_least_single(query) @ at_least_single(key).mT
            attention = torch.softmax(energy.amax(-1, keepdim=True) - energy, dim=-1)
            attended = self.gain * (attention @ at_least_single(value)) + value
        return attended.view_as(maps)


class Joining(nn.Module):
    """Maps of the U-Net and of the encoder's both images, each after attention, as one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = ChannelAttention(channels)
        self.convolution = nn.Conv2d(3 * channels, channels, 3, padding=1)

    def forward(self, maps: Tensor, seen: tuple[Tensor, Tensor]) -> Tensor:
        attended = [self.attention(part) for part in (maps, *reversed(seen))]
        return self.convolution(torch.cat(attended, dim=1))


class CoCoNet(nn.Module):
    """The whole network: reference and other (N, 1, H, W) in [0, 1] to the fused slices in [0, 1].

    The reference (MR) has the place of the authors' visible image, the other that of their
    infrared one. H and W must be multiples of ``architecture.stride``.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        finest, *coarser = architecture.widths
        channels = architecture.fold**2
        self.encoder = Encoder(channels, tuple(coarser), architecture.encoder_depths)
        self.levels = nn.ModuleList(
            nn.Sequential(_step(before, width), _step(width, width))
            for before, width in zip(
                (2 * channels, *architecture.widths), architecture.widths[:-1], strict=False
            )
        )
        self.descent = _step(architecture.widths[-2], architecture.widths[-1])
        self.joinings = nn.ModuleList(Joining(width) for width in coarser)
        self.bottom = _step(coarser[-1], coarser[-1])
        self.doublings = nn.ModuleList(
            nn.Conv2d(coarse, fine, 3, padding=1)
            for fine, coarse in zip(architecture.widths, coarser, strict=False)
        )
        self.ascents = nn.ModuleList(
            nn.Sequential(_step(2 * width, width), (_step if level else _activated)(width, width))
            for level, width in enumerate(architecture.widths[:-1])
        )
        self.output = build_output(architecture)
        self.projection = nn.Conv2d(finest, self.output.channels, 1)

    def forward(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.output.cut(self.uncut(reference, other), other, reference)

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        """The fused slices before they are cut to the range that can be shown."""
        refuse_other_sizes("CoCoNet", reference, self.architecture.stride)
        images = self.signed(reference), self.signed(other)
        maps = self.maps(*images)
        # The digits of half precision would show in the image: the last step keeps more.
        with torch.autocast(maps.device.type, enabled=False):
            last = self.projection(at_least_single(maps))
            return self.output.uncut(last, other, reference)

    def signed(self, image: Tensor) -> Tensor:
        """An image in [0, 1] as the network reads it: in [-1, 1], squares of pixels folded."""
        return F.pixel_unshuffle(2 * image - 1, self.architecture.fold)

    def maps(self, reference: Tensor, other: Tensor) -> Tensor:
        """The finest level's last maps, of images as :meth:`signed` gives them."""
        skips, maps = [], torch.cat([reference, other], dim=1)
        for level in self.levels:
            skips.append(level(maps))
            maps = F.max_pool2d(skips[-1], 2)
        seen = list(zip(self.encoder(reference), self.encoder(other), strict=True))
        maps = self.bottom(self.joinings[-1](self.descent(maps), seen[-1]))
        for number in reversed(range(len(skips))):
            joined = self._joined(number, skips[number], seen)
            doubled = self.doublings[number](_doubled(maps))
            maps = self.ascents[number](torch.cat([doubled, joined], dim=1))
        return maps

    def _joined(self, level: int, maps: Tensor, seen: list[tuple[Tensor, Tensor]]) -> Tensor:
        """A level's maps with what the encoder sees there; of the finest level, the maps alone."""
        return self.joinings[level - 1](maps, seen[level - 1]) if level else maps


def _doubled(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
