"""Attention between patches of a feature map, and the way from pixels to tokens and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PatchEmbedding(nn.Module):
    """Non-overlapping patches as tokens: ``(N, C, H, W)`` becomes ``(N, patches, dim)``.

    A side that is no multiple of ``patch`` is filled with zeros at its end. Tokens are row-major.
    """

    def __init__(self, channels: int, dim: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.projection = nn.Conv2d(channels, dim, patch, stride=patch)

    def forward(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[-2:]
        filled = F.pad(maps, (0, -width % self.patch, 0, -height % self.patch))
        return self.projection(filled).flatten(2).transpose(1, 2)


class AttentionInputs(nn.Module):
    """Normalise tokens and split them into queries, keys and values per head.

    ``(N, tokens, dim)`` becomes three tensors of ``(N, heads, tokens, dim / heads)``.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        split = self.qkv(self.norm(tokens)).unflatten(-1, (3, self.heads, -1))
        queries, keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)
        return queries, keys, values


class PatchExpansion(nn.Module):
    """Tokens back to pixels: ``(N, rows * columns, dim)`` becomes ``(N, C, H, W)``."""

    def __init__(self, dim: int, channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.projection = nn.Linear(dim, patch * patch * channels)

    def forward(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        pixels = self.projection(tokens)
        pixels = pixels.unflatten(-1, (self.patch, self.patch, -1)).unflatten(1, (rows, columns))
        # (N, rows, columns, row in patch, column in patch, C): interleave the two row axes and
        # the two column axes.
        return pixels.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Tokens (N, tokens, dim) from per-head (N, heads, tokens, dim / heads), PyTorch's own."""
    attended = F.scaled_dot_product_attention(queries, keys, values)
    return torch.flatten(attended.transpose(1, 2), 2)
