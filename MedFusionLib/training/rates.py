"""Learning rates over a run, as a share of the highest one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

WARM_UP_SHARE = 0.03


def constant(step: int, total_steps: int) -> float:
    return 1.0


def cosine(step: int, total_steps: int) -> float:
    """Rises over the first steps and falls to zero at the end."""
    warm = min((step + 1) / max(WARM_UP_SHARE * total_steps, 1), 1)
    return warm * 0.5 * (1 + math.cos(math.pi * min(step / total_steps, 1)))


RATES: dict[str, Callable[[int, int], float]] = {"constant": constant, "cosine": cosine}


def adam(
    parameters: Iterable[nn.Parameter], learning_rate: float, rate: str, total_steps: int
) -> dict[str, Any]:
    """Adam with decoupled weight decay and a curve of ``RATES``, as Lightning takes them.

    The curve is computed from the step alone, so a resumed run may be longer than it was.
    """
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate)
    share = RATES[rate]
    curve = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: share(step, total_steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": curve, "interval": "step"}}
