"""Learning rates over a run, as a share of the highest one."""

from __future__ import annotations

import math
from collections.abc import Callable

import lightning
import torch

WARM_UP_SHARE = 0.03


def constant(step: int, total_steps: int) -> float:
    return 1.0


def cosine(step: int, total_steps: int) -> float:
    """Rises over the first steps and falls to zero at the end."""
    warm = min((step + 1) / max(WARM_UP_SHARE * total_steps, 1), 1)
    return warm * 0.5 * (1 + math.cos(math.pi * min(step / total_steps, 1)))


def halving(step: int, total_steps: int) -> float:
    """Half as high after each sixth of the run, as CDDFuse's authors have it."""
    return 0.5 ** int(6 * min(step / total_steps, 1))


RATES: dict[str, Callable[[int, int], float]] = {
    "constant": constant,
    "cosine": cosine,
    "halving": halving,
}


class ScheduledTraining(lightning.LightningModule):
    """What all trainings share: Adam with decoupled weight decay and a curve of ``RATES``.

    The curve is computed from the step alone, so a resumed run may be longer than it was.
    """

    weight_decay = 0.01
    betas = (0.9, 0.999)

    def __init__(self, learning_rate: float, rate: str, total_steps: int) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.rate = RATES[rate]
        self.total_steps = total_steps

    def configure_optimizers(self):  # type: ignore[no-untyped-def]
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            trained, lr=self.learning_rate, betas=self.betas, weight_decay=self.weight_decay
        )
        curve = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.rate(step, self.total_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": curve, "interval": "step"}}
