"""ASFE-Fusion and AdaFuse under training."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

from MedFusionLib.methods.adafuse.network import AdaFuse
from MedFusionLib.methods.asfe.network import ASFEFusion
from MedFusionLib.methods.weighted_bands import WeightedBands, start_maps
from MedFusionLib.training.legible_module import LegibleTraining

Network = TypeVar("Network", ASFEFusion, AdaFuse)


class ASFETraining(LegibleTraining):
    """Train one network on batches of (reference, other), (N, 1, H, W) in [0, 1] each."""

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.network.uncut(other, reference)


def begin_with_equal_gains(network: Network) -> Network:
    """The untrained network; one that weighs bands begins with the same gains everywhere."""
    if isinstance(network.output, WeightedBands):
        start_maps(network.projection, network.output)
    return network
