"""ASFE-Fusion as a Lightning module: step, validation score, optimiser."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from MedFusionLib.methods.asfe.architecture import Architecture
from MedFusionLib.methods.asfe.network import ASFEFusion
from MedFusionLib.methods.asfe.outputs import WeightedDetails, start_gains
from MedFusionLib.training.asfe_losses import Loss
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.validation_score import fidelity

Batch = tuple[Tensor, Tensor]


class ASFETraining(lightning.LightningModule):
    """Train one network on batches of (reference, other), (N, 1, H, W) in [0, 1] each."""

    def __init__(
        self,
        architecture: Architecture,
        loss: Loss,
        augmentation: Augmentation,
        learning_rate: float,
    ) -> None:
        super().__init__()
        self.network = ASFEFusion(architecture)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if isinstance(self.network.output, WeightedDetails):
            start_gains(self.network.projection)
        self.loss = loss
        self.augmentation = augmentation
        self.learning_rate = learning_rate

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

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A resumed run may be longer than it was: its schedule keeps its own new length."""
        for schedule in checkpoint["lr_schedulers"]:
            for length in ("total_steps", "_schedule_phases"):
                schedule.pop(length, None)

    def configure_optimizers(self):  # type: ignore[no-untyped-def]
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=0.01)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=steps, pct_start=0.05
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class AveragedWeights(WeightAveraging):
    """Exponential moving average of weights and statistics; validation and checkpoints use it."""

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))
