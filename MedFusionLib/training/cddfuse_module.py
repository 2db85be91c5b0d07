"""CDDFuse under training: phase I rebuilds each source, phase II fuses them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from MedFusionLib.methods.cddfuse.network import CDDFuse, Features
from MedFusionLib.methods.trained import shown
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.cddfuse_losses import DECOMPOSITION, decomposition, rebuilding_terms
from MedFusionLib.training.legible_module import Batch, FuserLoss
from MedFusionLib.training.logged import log_dev_score, logged_total
from MedFusionLib.training.rates import ScheduledTraining

CLIP_NORM = 0.01
"""To which the gradient of each part is cut, as published: Adam's rate alone sets the steps."""


class ObservedFusion:
    """A fuser that keeps the features of its last slices, for the decomposition."""

    def __init__(self, network: CDDFuse) -> None:
        self._network = network
        self.features: tuple[Features, Features]

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        self.features = self._network.encoder(reference), self._network.encoder(other)
        skip = self._network.skip(reference, other)
        return self._network.decoder(self._network.fusion(*self.features), skip)

    def cut(self, uncut: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        """The slices as they are: a sigmoid leaves nothing to cut."""
        return uncut


class CDDFuseTraining(ScheduledTraining):
    """Train one network on batches of (reference, other), (N, 1, H, W) in [0, 1] each.

    ``loss`` is that of phase II beside the decomposition; phase I is the first
    ``first_phase_epochs``, always with the authors' loss.
    """

    weight_decay = 0.0

    def __init__(
        self,
        network: CDDFuse,
        loss: FuserLoss,
        augmentation: Augmentation,
        learning_rate: float,
        rate: str,
        total_steps: int,
        first_phase_epochs: int,
    ) -> None:
        super().__init__(learning_rate, rate, total_steps)
        self.network = network
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = loss
        self.augmentation = augmentation
        self.first_phase_epochs = first_phase_epochs

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.network(reference, other)

    def cut(self, uncut: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        return shown(uncut, reference, other)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        return logged_total(self, self._terms(*self.augmentation(*batch)))

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Log ``dev/score``; before there are fused slices, minus the loss of phase I.

        So no epoch of phase I is chosen over one of phase II, whose scores are positive.
        """
        if not self._in_first_phase():
            log_dev_score(self, self, *batch, batch_index)
            return
        loss = torch.stack(list(self.rebuilding(*batch).values())).sum()
        self.log("dev/score", -loss, batch_size=len(batch[0]), sync_dist=True)

    def rebuilding(self, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        """The weighted terms of phase I."""
        rebuilt_reference, of_reference = self.network.rebuilt(reference)
        rebuilt_other, of_other = self.network.rebuilt(other)
        terms = rebuilding_terms(reference, other, rebuilt_reference, rebuilt_other)
        return terms | {"decomposition": DECOMPOSITION * decomposition(of_reference, of_other)}

    def fusing(self, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        """The weighted terms of phase II."""
        fusion = ObservedFusion(self.network)
        terms = self.loss(fusion, reference, other)
        return terms | {"decomposition": DECOMPOSITION * decomposition(*fusion.features)}

    def parts(self) -> tuple[nn.Module, ...]:
        """What the authors optimise apart: encoder, decoder, fusion of bases, of details."""
        fusion = self.network.fusion
        return self.network.encoder, self.network.decoder, fusion.base, fusion.detail

    def configure_gradient_clipping(self, *arguments: Any, **options: Any) -> None:
        for part in self.parts():
            nn.utils.clip_grad_norm_(part.parameters(), CLIP_NORM)

    def _terms(self, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        step = self.rebuilding if self._in_first_phase() else self.fusing
        return step(reference, other)

    def _in_first_phase(self) -> bool:
        return self.current_epoch < self.first_phase_epochs
