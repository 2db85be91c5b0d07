"""CDDFuse: one encoder for both sources, fusion of base and of detail features, one decoder.

Zhao et al., CVPR 2023; where the paper and the published model differ, this is the published
model, whose base extractor is no lite transformer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.blocks.invertible import InvertibleStack
from MedFusionLib.methods.blocks.restormer import (
    ChannelTransformer,
    global_feature_block,
    restormer_block,
)
from MedFusionLib.methods.blocks.sizes import refuse_sizes_below_two_strides
from MedFusionLib.methods.cddfuse.architecture import Architecture


class Features(NamedTuple):
    """What a slice has in common with others of its place (base) and what is its own (detail).

    Both (N, channels, H / fold, W / fold).
    """

    base: Tensor
    detail: Tensor


class Encoder(nn.Module):
    """Features of one image (N, 1, H, W) in [0, 1]; both sources pass through the same one."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        channels = architecture.channels
        self.fold = architecture.fold
        self.stem = nn.Conv2d(self.fold**2, channels, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(
            *(
                restormer_block(channels, architecture.encoder_heads, architecture.expansion)
                for _ in range(architecture.encoder_blocks)
            )
        )
        self.base = _base_extractor(architecture, architecture.base_heads)
        self.detail = InvertibleStack(
            channels, architecture.detail_couplings, architecture.exponent_limit
        )

    def forward(self, image: Tensor) -> Features:
        shared = self.blocks(self.stem(F.pixel_unshuffle(image, self.fold)))
        return Features(self.base(shared), self.detail(shared))


class FeatureFusion(nn.Module):
    """Features of two images to those of the fused one."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.base = _base_extractor(architecture, architecture.fusion_heads)
        self.detail = InvertibleStack(
            architecture.channels, architecture.fusion_couplings, architecture.exponent_limit
        )

    def forward(self, first: Features, second: Features) -> Features:
        return Features(
            self.base(first.base + second.base), self.detail(first.detail + second.detail)
        )


class Decoder(nn.Module):
    """Features to an image (N, 1, H, W) in [0, 1].

    ``skip`` is an image that is added before the sigmoid, or ``None``.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        channels = architecture.channels
        self.fold = architecture.fold
        self.reduction = nn.Conv2d(2 * channels, channels, 1, bias=False)
        self.blocks = nn.Sequential(
            *(
                restormer_block(channels, architecture.decoder_heads, architecture.expansion)
                for _ in range(architecture.decoder_blocks)
            )
        )
        self.hidden = nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False)
        self.projection = nn.Conv2d(channels // 2, self.fold**2, 3, padding=1, bias=False)

    def forward(self, features: Features, skip: Tensor | None) -> Tensor:
        maps = self.blocks(self.reduction(torch.cat(features, dim=1)))
        hidden = F.leaky_relu(self.hidden(maps), 0.01)
        # The digits of half precision would show in the image: the last step keeps more.
        with torch.autocast(hidden.device.type, enabled=False):
            image = self.projection(hidden.to(self.projection.weight.dtype))
            image = F.pixel_shuffle(image, self.fold)
            return torch.sigmoid(image if skip is None else image + skip)


class CDDFuse(nn.Module):
    """The whole network: reference and other (N, 1, H, W) in [0, 1] to the fused slices.

    The reference (MR) has the place of the authors' visible image, the other that of their
    infrared one. H and W must be multiples of ``architecture.stride``, and at least twice that.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = Encoder(architecture)
        self.fusion = FeatureFusion(architecture)
        self.decoder = Decoder(architecture)

    def forward(self, reference: Tensor, other: Tensor) -> Tensor:
        refuse_sizes_below_two_strides("CDDFuse", reference, self.architecture.stride)
        features = self.encoder(reference), self.encoder(other)
        return self.decoder(self.fusion(*features), self.skip(reference, other))

    def rebuilt(self, image: Tensor) -> tuple[Tensor, Features]:
        """One image from its own features, as in the first phase of training, and these."""
        features = self.encoder(image)
        skip = None if self.architecture.skip == "none" else image
        return self.decoder(features, skip), features

    def skip(self, reference: Tensor, other: Tensor) -> Tensor | None:
        """What the decoder adds to the fused image before its sigmoid."""
        if self.architecture.skip == "none":
            return None
        return reference if self.architecture.skip == "reference" else reference + other


def _base_extractor(architecture: Architecture, heads: int) -> ChannelTransformer:
    channels = architecture.channels
    groups = 3 * channels if architecture.base_mixing == "depthwise" else 1
    return global_feature_block(channels, heads, mixing_groups=groups)
