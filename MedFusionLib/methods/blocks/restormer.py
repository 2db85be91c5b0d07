"""Transformer blocks that attend over channels: Zamir et al., Restormer, CVPR 2022.

All maps are (N, C, H, W). The attention is as large as the channels of a head squared, whatever
the size of the slice, and its cost grows with the number of pixels.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-5

Border = Literal["zeros", "reflect"]
"""What a 3×3 convolution sees beyond the border, in torch's words."""


class ChannelLayerNorm(nn.Module):
    """Normalise the channels of every pixel, with a learned gain and offset for each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor) -> Tensor:
        channels = maps.shape[1:2]
        pixels = maps.permute(0, 2, 3, 1)
        normed = functional.layer_norm(pixels, channels, self.weight, self.bias, EPSILON)
        return normed.permute(0, 3, 1, 2)


class ChannelAttention(nn.Module):
    """Attention between the channels of each head, over all pixels.

    Args:
        channels: of input and output; a multiple of ``heads``.
        heads: each has its own temperature.
        mixing_groups: groups of the 3×3 convolution before the attention: ``3 * channels`` for
            Restormer's, which mixes each map with itself only, 1 for a dense one.
    """

    def __init__(self, channels: int, heads: int, mixing_groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.inputs = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.mixing = nn.Conv2d(
            3 * channels, 3 * channels, 3, padding=1, groups=mixing_groups, bias=False
        )
        self.projection = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        query, key, value = (
            part.reshape(len(part), self.heads, -1, part.shape[-2] * part.shape[-1])
            for part in self.mixing(self.inputs(maps)).chunk(3, dim=1)
        )
        query, key = functional.normalize(query, dim=-1), functional.normalize(key, dim=-1)
        weights = (query @ key.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        return self.projection((weights @ value).reshape(maps.shape))


class GatedFeedForward(nn.Module):
    """Two 3×3 branches of ``hidden`` maps, of which one gates the other.

    Args:
        channels: of input and output.
        hidden: maps of each branch.
        mixing_groups: groups of the 3×3 convolution over both branches.
        border: how the 3×3 convolution sees beyond the border.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        mixing_groups: int,
        border: Border = "zeros",
    ) -> None:
        super().__init__()
        self.expansion = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.mixing = nn.Conv2d(
            2 * hidden,
            2 * hidden,
            3,
            padding=1,
            groups=mixing_groups,
            bias=False,
            padding_mode=border,
        )
        self.projection = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        gate, passed = self.mixing(self.expansion(maps)).chunk(2, dim=1)
        return self.projection(functional.gelu(gate) * passed)


class ChannelTransformer(nn.Module):
    """Attention, then feed-forward, each on normed maps and added to what came in."""

    def __init__(
        self, channels: int, attention: ChannelAttention, feed_forward: GatedFeedForward
    ) -> None:
        super().__init__()
        self.attention_norm = ChannelLayerNorm(channels)
        self.attention = attention
        self.feed_forward_norm = ChannelLayerNorm(channels)
        self.feed_forward = feed_forward

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps + self.attention(self.attention_norm(maps))
        return maps + self.feed_forward(self.feed_forward_norm(maps))


def restormer_block(channels: int, heads: int, expansion: float) -> ChannelTransformer:
    """Restormer's block: both 3×3 convolutions are depthwise."""
    hidden = int(channels * expansion)
    return ChannelTransformer(
        channels,
        ChannelAttention(channels, heads, 3 * channels),
        GatedFeedForward(channels, hidden, 2 * hidden),
    )


def global_feature_block(
    channels: int,
    heads: int,
    expansion: float = 1.0,
    border: Border = "zeros",
    mixing_groups: int = 1,
) -> ChannelTransformer:
    """The block of CDDFuse's base features and of EMMA's global ones.

    Its attention mixes all maps in a dense 3×3 convolution, unless ``mixing_groups`` makes that
    a lighter one; its feed-forward mixes them in pairs.
    """
    hidden = int(channels * expansion)
    return ChannelTransformer(
        channels,
        ChannelAttention(channels, heads, mixing_groups),
        GatedFeedForward(channels, hidden, hidden, border=border),
    )
