"""EMMA's trainings as Lightning modules: the sensing networks, then the fusion network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from MedFusionLib.computing.slice_fusion import FusionMethod
from MedFusionLib.methods.emma.architecture import Architecture
from MedFusionLib.methods.emma.network import UFuser
from MedFusionLib.methods.weighted_bands import WeightedBands, start_maps
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.emma_sensing import SensingPair
from MedFusionLib.training.legible_module import Batch, LegibleTraining
from MedFusionLib.training.logged import logged_total
from MedFusionLib.training.rates import ScheduledTraining


class SensingTraining(ScheduledTraining):
    """Train both sensing networks to tell each source from the fused slice.

    Every batch (reference, other), (N, 1, H, W) in [0, 1], is fused by one of ``methods``, drawn
    at random, so that no method's habits are taken for what fused slices have in common.
    """

    weight_decay = 0.0

    def __init__(
        self,
        pair: SensingPair,
        methods: Sequence[FusionMethod],
        augmentation: Augmentation,
        learning_rate: float,
        total_steps: int,
    ) -> None:
        super().__init__(learning_rate, "cosine", total_steps)
        self.pair = pair
        self.methods = methods
        self.augmentation = augmentation

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        reference, other = self.augmentation(*batch)
        chosen = int(torch.randint(len(self.methods), ()))
        return logged_total(self, self.terms(self.methods[chosen], reference, other))

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        method = self.methods[batch_index % len(self.methods)]
        errors = self.terms(method, *batch)
        means = {f"dev/{name}": error for name, error in errors.items()}
        means["dev/error"] = torch.stack(list(errors.values())).sum()
        self.log_dict(means, batch_size=len(batch[0]), sync_dist=True)

    def terms(self, method: FusionMethod, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        """Mean squared error of each source."""
        # The methods stay on the CPU, wherever the networks are trained. They give tensors of
        # inference, which no gradient may pass; a copy is free of that.
        fused = method.fuse(reference.cpu(), other.cpu()).clone().to(reference)
        as_reference, as_other = self.pair(fused)
        return {
            "reference": F.mse_loss(as_reference, reference),
            "other": F.mse_loss(as_other, other),
        }


class EMMATraining(LegibleTraining):
    """Train the fusion network on batches of (reference, other), (N, 1, H, W) in [0, 1] each."""

    weight_decay = 0.0

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.network.uncut(reference, other)


def fresh_network(architecture: Architecture) -> UFuser:
    """An untrained network; one that weighs bands begins with the same gains everywhere."""
    network = UFuser(architecture)
    if isinstance(network.output, WeightedBands):
        start_maps(network.projection, network.output)
    return network
