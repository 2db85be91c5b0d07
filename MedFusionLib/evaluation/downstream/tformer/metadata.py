"""TFormer's branch of metadata: a few numbers of a patient look at what the images told."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from MedFusionLib.evaluation.downstream.tformer.windows import FeedForward

DROPPED = 0.3


class MetadataDescription(nn.Sequential):
    """Numbers (N, numbers) become a description (N, features)."""

    def __init__(self, numbers: int, hidden: int, features: int) -> None:
        super().__init__(
            *(nn.Linear(numbers, hidden), nn.BatchNorm1d(hidden), nn.ReLU()),
            *(nn.Linear(hidden, features), nn.BatchNorm1d(features), nn.ReLU()),
            nn.Dropout(DROPPED),
        )


class MetadataCrossing(nn.Module):
    """The metadata's description asks itself and the images', and adds what it was told.

    Args:
        features: of the metadata's description.
        dim: of the images' description, in which the two meet.
    """

    def __init__(self, features: int, dim: int, heads: int) -> None:
        super().__init__()
        self.widening = nn.Linear(features, dim)
        self.narrowing = nn.Linear(dim, features)
        self.own_norm, self.images_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = SelfAndOther(dim, heads)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim, dim)

    def forward(self, metadata: Tensor, images: Tensor) -> Tensor:
        """(N, features) from metadata (N, features) and images (N, dim)."""
        own = self.own_norm(self.widening(metadata))
        told = own + self.attention(own, self.images_norm(images))
        told = told + self.feed_forward(self.feed_forward_norm(told))
        return metadata + self.narrowing(told)


class SelfAndOther(nn.Module):
    """Attention of one token to itself and to one other, both (N, dim)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Linear(dim, dim, bias=False)
        self.keys_values = nn.Linear(dim, 2 * dim, bias=False)
        self.projection = nn.Linear(dim, dim)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        both = torch.stack([own, other], dim=1)
        queries, keys, values = (
            tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for tokens in (self.queries(own)[:, None], *self.keys_values(both).chunk(2, dim=-1))
        )
        attended = functional.scaled_dot_product_attention(queries, keys, values)
        # As its authors have it, what asks is added before the projection, too.
        return self.projection(attended.flatten(1) + own)
