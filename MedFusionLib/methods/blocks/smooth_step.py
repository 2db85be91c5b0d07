"""A share that rises from 0 to 1 without a kink."""

from __future__ import annotations

from torch import Tensor


def smooth_step(values: Tensor, low: float, high: float) -> Tensor:
    """0 below ``low``, 1 above ``high``, with no slope at either."""
    share = ((values - low) / (high - low)).clamp(0, 1)
    return share * share * (3 - 2 * share)
