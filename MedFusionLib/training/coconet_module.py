"""CoCoNet under training: its encoder, the main stage, the contrast of target and background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from MedFusionLib.methods.coconet.architecture import Architecture
from MedFusionLib.methods.coconet.network import CoCoNet
from MedFusionLib.methods.weighted_bands import WeightedBands, start_maps
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.coconet_encoder import DeeperBlocks, Redrawing
from MedFusionLib.training.coconet_losses import coupled_contrast, main_terms
from MedFusionLib.training.legibility import Loss
from MedFusionLib.training.legible_module import FuserLoss, LegibleTraining
from MedFusionLib.training.logged import log_dev_score, logged_total

Batch = tuple[Tensor, Tensor, Tensor]
"""Reference, other, and 1 where the other shows its target: (N, 1, H, W) in [0, 1] each."""

_HANDICAP = 100.0
"""More than any ``dev/score`` of fused slices."""


@dataclass(frozen=True)
class Stages:
    """Epochs of each stage, in this order, and whether the encoder may learn in the first."""

    encoder: int
    main: int
    contrast: int
    encoder_is_given: bool = False

    def is_first(self, epoch: int) -> bool:
        return epoch < self.encoder

    def is_last(self, epoch: int) -> bool:
        return epoch >= self.encoder + self.main

    def ends(self, epoch: int) -> bool:
        """Whether no later stage will change what the epoch has trained."""
        return self.is_last(epoch) or (self.contrast == 0 and not self.is_first(epoch))


class CoCoNetTraining(LegibleTraining):
    """Train one network on batches of reference, other and target region.

    ``loss`` makes the loss of a fuser from terms of fused slices: those of the main stage, or
    these and the contrast.
    """

    weight_decay = 0.0

    def __init__(
        self,
        network: CoCoNet,
        loss: Callable[[Loss], FuserLoss],
        augmentation: Augmentation,
        learning_rate: float,
        total_steps: int,
        stages: Stages,
    ) -> None:
        super().__init__(network, loss(main_terms), augmentation, learning_rate, total_steps)
        self.loss_of = loss
        self.stages = stages
        self.deeper = DeeperBlocks(network.architecture)
        self.redrawing = Redrawing(network.architecture)

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.network.uncut(reference, other)

    def on_train_epoch_start(self) -> None:
        """Only the first stage changes what the network and the contrast look through."""
        first = self.stages.is_first(self.current_epoch)
        self.network.encoder.requires_grad_(first and not self.stages.encoder_is_given)
        self.deeper.requires_grad_(first)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:  # type: ignore[override]
        return logged_total(self, self.terms(*self.changed(*batch)))

    def validation_step(self, batch: Batch, batch_index: int) -> None:  # type: ignore[override]
        """Log ``dev/score``; before there are fused slices, minus the loss of the encoder.

        Handicaps see to it that an epoch of the last stage is chosen, and none of the first.
        """
        reference, other, _ = batch
        if not self.stages.is_first(self.current_epoch):
            handicap = 0.0 if self.stages.ends(self.current_epoch) else _HANDICAP
            log_dev_score(self, self, reference, other, batch_index, handicap)
            return
        loss = self.encoding(reference, other)["redrawing"]
        self.log("dev/score", -loss - 2 * _HANDICAP, batch_size=len(reference), sync_dist=True)

    def changed(self, reference: Tensor, other: Tensor, target: Tensor) -> Batch:
        """An augmented batch: the target moves with the other source, and stays all or nothing."""
        both = torch.cat([other, target], dim=1)
        reference, both = self.augmentation.moved(reference, both)
        other, target = both.split(1, dim=1)
        pair = self.augmentation.intensity(reference), self.augmentation.intensity(other)
        return *pair, (target > 0.5).float()

    def terms(self, reference: Tensor, other: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The weighted terms of the stage that the epoch is in."""
        if self.stages.is_first(self.current_epoch):
            return self.encoding(reference, other)
        if not self.stages.is_last(self.current_epoch):
            return self.loss(self, reference, other)
        return self.loss_of(partial(self.contrasted, target))(self, reference, other)

    def encoding(self, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        """The first stage: how far off each drawing of a slice from its maps is."""
        images = torch.cat([reference, other])
        folded = self.network.signed(images)
        encoder = self.network.encoder
        maps = [*encoder(folded), *self.deeper.stages(encoder, folded)]
        return {"redrawing": self.redrawing(maps, images).sum()}

    def contrasted(
        self, target: Tensor, fused: Tensor, reference: Tensor, other: Tensor
    ) -> dict[str, Tensor]:
        """The terms of the last stage."""
        terms = coupled_contrast(self.features, fused, reference, other, target)
        return main_terms(fused, reference, other) | terms

    def features(self, image: Tensor) -> list[Tensor]:
        """What the contrast compares, of images in [-1, 1]."""
        folded = F.pixel_unshuffle(image, self.network.architecture.fold)
        return self.deeper.stages(self.network.encoder, folded)


def fresh_network(architecture: Architecture) -> CoCoNet:
    """An untrained network; one that weighs bands begins with the same gains everywhere."""
    network = CoCoNet(architecture)
    if isinstance(network.output, WeightedBands):
        start_maps(network.projection, network.output)
    return network
