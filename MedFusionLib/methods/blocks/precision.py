"""Single precision where a step needs it, double where the whole network runs in it."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_single(maps: Tensor) -> Tensor:
    """The maps in float32, or as they are if they are float64 already."""
    return maps.to(torch.promote_types(maps.dtype, torch.float32))
