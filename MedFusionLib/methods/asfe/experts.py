"""SFEF, the spatial and frequency experts fusion of ASFE-Fusion: a soft mixture of experts.

Puigcerver et al., "From sparse to soft mixtures of experts", ICLR 2024. With X the normalised
tokens (n, d) and S the normalised slots (s, d), the layer computes

    inputs = softmax_over_tokens(X S^T)^T X,    Y = softmax_over_slots(X S^T) experts(inputs).

Both are attention with scale 1: slots attend to tokens, then tokens attend to slots. Written so,
the n-by-s matrix never exists in memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.blocks.precision import at_least_single


class RootMeanSquareNorm(nn.Module):
    """Scale vectors of the last axis to norm sqrt(d), times a learned gain per component."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(dim))

    def forward(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1) * (self.gain * self.gain.numel() ** 0.5)


class SpatialFrequencyExperts(nn.Module):
    """Soft mixture of experts over pixels; ``(N, dim, H, W)`` keeps its shape.

    Each of ``experts`` two-layer perceptrons works on ``slots`` weighted averages of all pixels;
    each pixel then takes a weighted average of the experts' answers. The layer has no residual.
    """

    def __init__(self, dim: int, experts: int, slots: int) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.randn(experts, slots, dim))
        self.token_norm = RootMeanSquareNorm(dim)
        self.slot_norm = RootMeanSquareNorm(dim)
        self.experts = nn.ModuleList(_expert(dim) for _ in range(experts))

    def forward(self, maps: Tensor) -> Tensor:
        # Logits reach the size of dim: too coarse in bfloat16 for a softmax.
        with torch.autocast(maps.device.type, enabled=False):
            # Contiguous: attention falls back to a full matrix when components are not neighbours.
            tokens = at_least_single(maps).permute(0, 2, 3, 1).flatten(1, 2).contiguous()
            mixed = self._mix(self.token_norm(tokens))
        return mixed.unflatten(1, maps.shape[-2:]).permute(0, 3, 1, 2)

    def _mix(self, tokens: Tensor) -> Tensor:
        slots = self.slot_norm(self.slots).flatten(0, 1).expand(tokens.shape[0], -1, -1)
        answers = self._ask_experts(_attend(slots, tokens, tokens))
        return _attend(tokens, slots, answers)

    def _ask_experts(self, inputs: Tensor) -> Tensor:
        per_expert = inputs.chunk(len(self.experts), dim=1)
        answers = [expert(part) for expert, part in zip(self.experts, per_expert, strict=True)]
        return torch.cat(answers, dim=1)


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    attended = F.scaled_dot_product_attention(
        queries.unsqueeze(1), keys.unsqueeze(1), values.unsqueeze(1), scale=1.0
    )
    return attended.squeeze(1)


def _expert(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))


class AddedExperts(SpatialFrequencyExperts):
    """The same layer with a residual, so that detail need not pass through the slots.

    A few slots can describe a kind of tissue but not a pixel; the published model affords 1,024.
    """

    def forward(self, maps: Tensor) -> Tensor:
        return maps + super().forward(maps)


MIXTURES: dict[str, type[SpatialFrequencyExperts]] = {
    "alone": SpatialFrequencyExperts,
    "added": AddedExperts,
}
