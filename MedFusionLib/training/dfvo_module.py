"""DFVO under training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MedFusionLib.methods.dfvo.architecture import Architecture
from MedFusionLib.methods.dfvo.network import DFVO
from MedFusionLib.methods.dfvo.outputs import EnhancedBands
from MedFusionLib.methods.trained import shown
from MedFusionLib.methods.weighted_bands import start_maps
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.dfvo_objectives import found_shading_error
from MedFusionLib.training.dfvo_shading import fixed_shading
from MedFusionLib.training.legible_module import Batch, FuserLoss
from MedFusionLib.training.logged import log_dev_score, logged_total
from MedFusionLib.training.rates import ScheduledTraining

_LIT = 3.0
"""What the untrained illumination's last map is everywhere: hardly anything is enhanced."""


class DFVOTraining(ScheduledTraining):
    """Train one network on batches of (reference, other), (N, 1, H, W) in [0, 1] each.

    ``loss`` may own networks that are trained along; it sees the module as ``fuser``.
    """

    weight_decay = 0.0

    def __init__(
        self,
        network: DFVO,
        loss: FuserLoss,
        augmentation: Augmentation,
        learning_rate: float,
        rate: str,
        total_steps: int,
    ) -> None:
        super().__init__(learning_rate, rate, total_steps)
        self.network = network
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = loss
        self.augmentation = augmentation

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.network.uncut(reference, other)

    def cut(self, uncut: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        return shown(self.network.output.cut(uncut), reference, other)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        return logged_total(self, self.loss(self, *self.augmentation(*batch)))

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        log_dev_score(self, self, *batch, batch_index)
        if isinstance(self.network.output, EnhancedBands):
            reference, _ = batch
            error = found_shading_error(self.network, reference, fixed_shading(reference))
            self.log("dev/shading", error, batch_size=len(reference), sync_dist=True)


class PublishedDFVOTraining(DFVOTraining):
    """The same with the authors' optimiser, which forgets squared gradients soon."""

    betas = (0.9, 0.8)


TRAININGS = {
    "legible": DFVOTraining,
    "shading": DFVOTraining,
    "paper": PublishedDFVOTraining,
}
"""By the name of the loss."""


def fresh_network(architecture: Architecture) -> DFVO:
    """The untrained network; one that weighs bands begins with the same gains everywhere."""
    network = DFVO(architecture)
    if isinstance(network.output, EnhancedBands):
        start_maps(network.decoder.projection, network.output.bands)
        last = network.output.enhancement.estimate.decoder.projection
        nn.init.zeros_(last.weight)
        last.bias = nn.Parameter(torch.full_like(last.weight[:, 0, 0, 0], _LIT))
    return network
