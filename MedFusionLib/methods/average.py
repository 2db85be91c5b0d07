"""Mean of the two sources."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Average:
    """Fused = (reference + other) / 2."""

    name = "average"
    stride = 1

    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        """Mean of two batches (N, 1, H, W) in [0, 1]."""
        return (reference + other) / 2


def create(device: torch.device) -> Average:
    """The method has no state, so any device will do."""
    return Average()
