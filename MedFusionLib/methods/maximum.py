"""Pixel maximum of the sources."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Maximum:
    """Fused = max(reference, other), or the maximum of more."""

    name = "maximum"
    stride = 1

    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        """Pixel maximum of two batches (N, 1, H, W) in [0, 1]."""
        return torch.maximum(reference, other)

    def fuse_many(
        self,
        reference: Tensor,
        others: Sequence[Tensor],
        slice_indices: Sequence[int] | None = None,
    ) -> Tensor:
        """Pixel maximum of all sources."""
        return torch.stack([reference, *others]).amax(dim=0)


def create(device: torch.device) -> Maximum:
    """The method has no state, so any device will do."""
    return Maximum()
