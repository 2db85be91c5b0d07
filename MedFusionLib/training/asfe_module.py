"""ASFE-Fusion under training."""

from __future__ import annotations

from torch import Tensor

from MedFusionLib.methods.asfe.architecture import Architecture
from MedFusionLib.methods.asfe.network import ASFEFusion
from MedFusionLib.methods.weighted_bands import WeightedBands, start_maps
from MedFusionLib.training.legible_module import LegibleTraining


class ASFETraining(LegibleTraining):
    """Train one network on batches of (reference, other), (N, 1, H, W) in [0, 1] each."""

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.network.uncut(other, reference)


def fresh_network(architecture: Architecture) -> ASFEFusion:
    """An untrained network; one that weighs bands begins with the same gains everywhere."""
    network = ASFEFusion(architecture)
    if isinstance(network.output, WeightedBands):
        start_maps(network.projection, network.output)
    return network
