"""A training in two phases: first to rebuild each source, then to fuse them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from MedFusionLib.errors import InputError
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.legible_module import Batch, FuserLoss
from MedFusionLib.training.logged import log_dev_score, logged_total
from MedFusionLib.training.rates import ScheduledTraining
from MedFusionLib.training.settings import TwoPhaseSettings


def first_phase_epochs(settings: TwoPhaseSettings) -> int:
    """Epochs of the first phase; at least one is left for the second, which learns to fuse."""
    if not 0 <= settings.first_phase < 1:
        raise InputError(f"--first-phase is a share from 0 to below 1, not {settings.first_phase}.")
    return min(round(settings.first_phase * settings.epochs), settings.epochs - 1)


class TwoPhaseTraining(ScheduledTraining):
    """Train one network on batches of (reference, other), (N, 1, H, W) in [0, 1] each.

    ``loss`` is that of the second phase. A subclass says how the network fuses (:meth:`uncut`,
    :meth:`cut`) and what the first ``first_phase_epochs`` learn (:meth:`rebuilding`).
    """

    weight_decay = 0.0

    def __init__(
        self,
        network: Any,
        loss: FuserLoss,
        augmentation: Augmentation,
        settings: TwoPhaseSettings,
    ) -> None:
        total_steps = settings.epochs * settings.steps
        super().__init__(settings.learning_rate, settings.rate, total_steps)
        self.network = network
        self.network.to(memory_format=torch.channels_last)
        self.loss = loss
        self.augmentation = augmentation
        self.first_phase_epochs = first_phase_epochs(settings)

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        """The fused slices before they are cut to the range that can be shown."""
        raise NotImplementedError

    def cut(self, uncut: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        """The fused slices as they are shown."""
        raise NotImplementedError

    def rebuilding(self, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        """The weighted terms of the first phase."""
        raise NotImplementedError

    def fusing(self, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        """The weighted terms of the second phase."""
        return self.loss(self, reference, other)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        step = self.rebuilding if self._in_first_phase() else self.fusing
        return logged_total(self, step(*self.augmentation(*batch)))

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Log ``dev/score``; before there are fused slices, minus the loss of the first phase.

        So no epoch of the first phase is chosen over one of the second, whose scores are positive.
        """
        if not self._in_first_phase():
            log_dev_score(self, self, *batch, batch_index)
            return
        loss = torch.stack(list(self.rebuilding(*batch).values())).sum()
        self.log("dev/score", -loss, batch_size=len(batch[0]), sync_dist=True)

    def _in_first_phase(self) -> bool:
        return self.current_epoch < self.first_phase_epochs
