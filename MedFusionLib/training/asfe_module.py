"""ASFE-Fusion as a Lightning module: step, validation score, optimiser."""

from __future__ import annotations

import torch
from torch import Tensor

from MedFusionLib.methods.asfe.architecture import Architecture
from MedFusionLib.methods.asfe.network import ASFEFusion
from MedFusionLib.methods.weighted_details import WeightedDetails, start_gains
from MedFusionLib.training.asfe_losses import Loss
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.logged import log_fidelity, logged_total
from MedFusionLib.training.rates import ScheduledTraining

Batch = tuple[Tensor, Tensor]


class ASFETraining(ScheduledTraining):
    """Train one network on batches of (reference, other), (N, 1, H, W) in [0, 1] each."""

    def __init__(
        self,
        network: ASFEFusion,
        loss: Loss,
        augmentation: Augmentation,
        learning_rate: float,
        total_steps: int,
    ) -> None:
        super().__init__(learning_rate, "cosine", total_steps)
        self.network = network
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = loss
        self.augmentation = augmentation

    def forward(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.network(other, reference)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        reference, other = self.augmentation(*batch)
        # The network may run in bfloat16, the loss must not: its ratios need the digits.
        fused = self(reference, other).float()
        with torch.autocast(self.device.type, enabled=False):
            terms = self.loss(fused, reference, other)
        return logged_total(self, terms)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        log_fidelity(self, self(*batch), *batch)


def fresh_network(architecture: Architecture) -> ASFEFusion:
    """An untrained network; one that weighs details begins with the same gains everywhere."""
    network = ASFEFusion(architecture)
    if isinstance(network.output, WeightedDetails):
        start_gains(network.projection)
    return network
