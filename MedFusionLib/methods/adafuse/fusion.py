"""Cross attention fusion in space and in frequency: Gu et al., arXiv 2310.05462."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.adafuse.frequency import SPECTRA, magnitudes
from MedFusionLib.methods.asfe.spatial_fusion import CrossAttentionSpatialFusion
from MedFusionLib.methods.blocks.patch_attention import AttentionInputs, attend

EXPANSION = 4


class TokenTransformer(nn.Module):
    """Attention between tokens, then two layers on each, both added to what came in.

    ``(N, tokens, dim)`` keeps its shape.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.inputs = AttentionInputs(dim, heads)
        self.projection = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.expansion = nn.Linear(dim, EXPANSION * dim)
        self.contraction = nn.Linear(EXPANSION * dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.projection(attend(*self.inputs(tokens)))
        return tokens + self.contraction(F.gelu(self.expansion(self.norm(tokens))))


class CrossAttentionFusion(CrossAttentionSpatialFusion):
    """ASFE-Fusion's exchange of attention, each image's tokens first on their own."""

    def __init__(self, channels: int, patch: int, dim: int, heads: int, depth: int) -> None:
        super().__init__(channels, patch, dim, heads)
        self.transformers1 = nn.Sequential(*(TokenTransformer(dim, heads) for _ in range(depth)))
        self.transformers2 = nn.Sequential(*(TokenTransformer(dim, heads) for _ in range(depth)))

    def tokens(self, maps1: Tensor, maps2: Tensor) -> tuple[Tensor, Tensor]:
        tokens1, tokens2 = super().tokens(maps1, maps2)
        return self.transformers1(tokens1), self.transformers2(tokens2)


class SpatialFrequencyFusion(nn.Module):
    """Fuse two feature maps ``(N, C, H, W)`` in space and in frequency, then both results."""

    def __init__(
        self, channels: int, patch: int, dim: int, heads: int, depth: int, spectrum: str
    ) -> None:
        super().__init__()
        self.to_pixels = SPECTRA[spectrum]
        self.frequency = CrossAttentionFusion(channels, patch, dim, heads, depth)
        self.spatial = CrossAttentionFusion(channels, patch, dim, heads, depth)
        self.final = CrossAttentionFusion(channels, patch, dim, heads, depth)

    def forward(self, maps1: Tensor, maps2: Tensor) -> Tensor:
        return self.final(self.spatial(maps1, maps2), self._in_frequency(maps1, maps2))

    def _in_frequency(self, maps1: Tensor, maps2: Tensor) -> Tensor:
        # Spectra span many orders of magnitude, and half-precision FFT does not exist everywhere.
        with torch.autocast(maps1.device.type, enabled=False):
            fused = self.frequency(magnitudes(maps1), magnitudes(maps2))
            return self.to_pixels(fused, maps1, maps2).to(maps1.dtype)
