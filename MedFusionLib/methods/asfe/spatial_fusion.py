"""CASF, the cross attention spatial fusion of ASFE-Fusion.

Each image is cut into patches and attends to itself; the two attention maps are then applied to
the *other* image's values (Gu et al. 2024, with 16x16 patches as in the published model).
"""

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


class CrossAttentionSpatialFusion(nn.Module):
    """Fuse two feature maps ``(N, C, H, W)`` into one of the same shape.

    H and W must be multiples of ``patch``. Nothing here materialises a tokens-by-tokens matrix:
    attention is PyTorch's own.
    """

    def __init__(self, channels: int, patch: int, dim: int, heads: int) -> None:
        super().__init__()
        self.patch = patch
        self.embedding1 = PatchEmbedding(channels, dim, patch)
        self.embedding2 = PatchEmbedding(channels, dim, patch)
        self.inputs1 = AttentionInputs(dim, heads)
        self.inputs2 = AttentionInputs(dim, heads)
        self.projection1 = nn.Linear(dim, dim)
        self.projection2 = nn.Linear(dim, dim)
        self.expansion = PatchExpansion(dim, channels, patch)

    def forward(self, maps1: Tensor, maps2: Tensor) -> Tensor:
        rows, columns = maps1.shape[-2] // self.patch, maps1.shape[-1] // self.patch
        fused = self._fused_tokens(maps1, maps2)
        return maps1 + maps2 + self.expansion(fused, rows, columns)

    def _fused_tokens(self, maps1: Tensor, maps2: Tensor) -> Tensor:
        queries1, keys1, values1 = self.inputs1(self.embedding1(maps1))
        queries2, keys2, values2 = self.inputs2(self.embedding2(maps2))
        swapped1 = _attend(queries1, keys1, values2)
        swapped2 = _attend(queries2, keys2, values1)
        return (self.projection1(swapped1) + self.projection2(swapped2)) / 2


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    attended = F.scaled_dot_product_attention(queries, keys, values)
    return torch.flatten(attended.transpose(1, 2), 2)
