"""What the trainings of ASFE-Fusion and of the live method share, as a Lightning module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.legibility import Fuser
from MedFusionLib.training.logged import log_dev_score, logged_total
from MedFusionLib.training.rates import ScheduledTraining

Batch = tuple[Tensor, Tensor]
FuserLoss = Callable[[Fuser, Tensor, Tensor], dict[str, Tensor]]
"""Fuser, reference, other to weighted scalar terms; their sum is minimised."""


class LegibleTraining(ScheduledTraining):
    """Train one network on batches of (reference, other), (N, 1, H, W) in [0, 1] each.

    ``network`` has ``uncut`` and ``output.cut``; a subclass whose network takes the other image
    first exchanges them in :meth:`ordered`.
    """

    def __init__(
        self,
        network: Any,
        loss: FuserLoss,
        augmentation: Augmentation,
        learning_rate: float,
        total_steps: int,
    ) -> None:
        super().__init__(learning_rate, "cosine", total_steps)
        self.network = network
        self.network.to(memory_format=torch.channels_last)
        self.loss = loss
        self.augmentation = augmentation

    def forward(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.cut(self.uncut(reference, other), reference, other)

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        raise NotImplementedError

    def cut(self, uncut: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        # The order of the images does not matter to the range.
        return self.network.output.cut(uncut, other, reference)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        return logged_total(self, self.loss(self, *self.augmentation(*batch)))

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        log_dev_score(self, self, *batch, batch_index)
