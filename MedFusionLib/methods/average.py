"""Mean of the sources."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Average:
    """Fused = (reference + other) / 2, or the mean of more."""

    name = "average"
    stride = 1

    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        """Mean of two batches (N, 1, H, W) in [0, 1]."""
        return (reference + other) / 2

    def fuse_many(
        self,
        reference: Tensor,
        others: Sequence[Tensor],
        slice_indices: Sequence[int] | None = None,
    ) -> Tensor:
        """Mean of all sources. Sorted first: a sum depends on the order of its terms."""
        return torch.stack([reference, *others]).sort(dim=0).values.mean(dim=0)


def create(device: torch.device) -> Average:
    """The method has no state, so any device will do."""
    return Average()
