"""Distilling the live network from a learned method, as a Lightning module."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from MedFusionLib.methods.live.network import LiveFusion
from MedFusionLib.methods.weighted_details import start_gains
from MedFusionLib.training import losses
from MedFusionLib.training.asfe_losses import FaithfulLoss
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.logged import log_fidelity, logged_total
from MedFusionLib.training.rates import ScheduledTraining

Batch = tuple[Tensor, Tensor]
Teacher = Callable[[Tensor, Tensor], Tensor]
"""Reference and other, (N, 1, H, W) in [0, 1] each, to the fused slices."""

FAITHFULNESS_SHARE = 0.5
"""Of the loss that the teacher was trained with. Imitation alone also learns its mistakes."""


class LiveTraining(ScheduledTraining):
    """Train the small network on batches of (reference, other) to fuse as the teacher does."""

    def __init__(
        self,
        network: LiveFusion,
        teacher: Teacher,
        augmentation: Augmentation,
        learning_rate: float,
        total_steps: int,
    ) -> None:
        super().__init__(learning_rate, "cosine", total_steps)
        self.network = network
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teacher = teacher
        self.faithful = FaithfulLoss()
        self.augmentation = augmentation

    def forward(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.network(reference, other)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        reference, other = self.augmentation(*batch)
        # Methods fuse in inference mode; autograd takes a copy of their result only.
        taught = self.teacher(reference, other).clone()
        fused = self(reference, other).float()
        with torch.autocast(self.device.type, enabled=False):
            terms = imitation(fused, taught, reference, other)
            terms |= self._faithfulness(fused, reference, other)
        return logged_total(self, terms)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        log_fidelity(self, self(*batch), *batch)

    def _faithfulness(self, fused: Tensor, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        terms = self.faithful(fused, reference, other)
        return {name: FAITHFULNESS_SHARE * term for name, term in terms.items()}


def imitation(fused: Tensor, taught: Tensor, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
    """Distance of values, of derivatives and of SCD to the teacher's slices, mean over the batch.

    SCD (what each source added) is asked for by name: the small network's values come close to
    the teacher's and still lack brightness over large areas, which SCD measures.
    """
    wanted = losses.difference_correlation(taught, reference, other)
    reached = losses.difference_correlation(fused, reference, other)
    return {
        "taught values": 50 * losses.mean_absolute(fused - taught).mean(),
        "taught edges": 20 * losses.gradient_distance(fused, taught, taught).mean(),
        "taught differences": 5 * (wanted - reached).clamp(min=0).mean(),
    }


def fresh_network() -> LiveFusion:
    """An untrained network: the same gains everywhere."""
    network = LiveFusion()
    start_gains(network.gains)
    return network
