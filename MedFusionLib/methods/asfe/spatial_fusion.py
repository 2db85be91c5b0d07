"""CASF, the cross attention spatial fusion of ASFE-Fusion.

Each image is cut into patches and attends to itself; the two attention maps are then applied to
the *other* image's values (Gu et al. 2024, with 16x16 patches as in the published model).
"""

from __future__ import annotations

from torch import Tensor, nn

from MedFusionLib.methods.blocks.patch_attention import (
    AttentionInputs,
    PatchEmbedding,
    PatchExpansion,
    attend,
)


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

    def tokens(self, maps1: Tensor, maps2: Tensor) -> tuple[Tensor, Tensor]:
        """The patches of each image as tokens, before one sees the other."""
        return self.embedding1(maps1), self.embedding2(maps2)

    def _fused_tokens(self, maps1: Tensor, maps2: Tensor) -> Tensor:
        tokens1, tokens2 = self.tokens(maps1, maps2)
        queries1, keys1, values1 = self.inputs1(tokens1)
        queries2, keys2, values2 = self.inputs2(tokens2)
        swapped1 = attend(queries1, keys1, values2)
        swapped2 = attend(queries2, keys2, values1)
        return (self.projection1(swapped1) + self.projection2(swapped2)) / 2
