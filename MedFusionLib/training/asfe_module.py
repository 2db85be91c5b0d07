"""ASFE-Fusion as a Lightning module: step, validation score, optimiser."""

from __future__ import annotations

import lightning
import torch
from torch import Tensor

from MedFusionLib.methods.asfe.architecture import Architecture
from MedFusionLib.methods.asfe.network import ASFEFusion
from MedFusionLib.methods.weighted_details import WeightedDetails, start_gains
from MedFusionLib.training.asfe_losses import Loss
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.rates import adam
from MedFusionLib.training.validation_score import fidelity

Batch = tuple[Tensor, Tensor]


class ASFETraining(lightning.LightningModule):
    """Train one network on batches of (reference, other), (N, 1, H, W) in [0, 1] each."""

    def __init__(
        self,
        network: ASFEFusion,
        loss: Loss,
        augmentation: Augmentation,
        learning_rate: float,
        total_steps: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = loss
        self.augmentation = augmentation
        self.learning_rate = learning_rate
        self.total_steps = total_steps

    def forward(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.network(other, reference)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        reference, other = self.augmentation(*batch)
        # The network may run in bfloat16, the loss must not: its ratios need the digits.
        fused = self(reference, other).float()
        with torch.autocast(self.device.type, enabled=False):
            terms = self.loss(fused, reference, other)
        total = torch.stack(list(terms.values())).sum()
        self.log_dict({f"train/{name}": term.detach() for name, term in terms.items()})
        self.log("train/total", total.detach(), prog_bar=True)
        return total

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        reference, other = batch
        scores = fidelity(self(reference, other).float(), reference, other)
        self.log_dict(
            {f"dev/{name}": score.mean() for name, score in scores.items()},
            batch_size=len(reference),
            sync_dist=True,
        )
        total = torch.stack(list(scores.values())).sum(0).mean()
        self.log("dev/score", total, prog_bar=True, batch_size=len(reference), sync_dist=True)

    def configure_optimizers(self):  # type: ignore[no-untyped-def]
        return adam(self.parameters(), self.learning_rate, "cosine", self.total_steps)


def fresh_network(architecture: Architecture) -> ASFEFusion:
    """An untrained network; one that weighs details begins with the same gains everywhere."""
    network = ASFEFusion(architecture)
    if isinstance(network.output, WeightedDetails):
        start_gains(network.projection)
    return network
