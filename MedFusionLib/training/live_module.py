"""The live network under training."""

from __future__ import annotations

from torch import Tensor

from MedFusionLib.methods.live.network import LiveFusion
from MedFusionLib.methods.weighted_bands import start_maps
from MedFusionLib.training.legible_module import LegibleTraining


class LiveTraining(LegibleTraining):
    """Train one network on batches of (reference, other), (N, 1, H, W) in [0, 1] each."""

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.network.uncut(reference, other)


def fresh_network() -> LiveFusion:
    """An untrained network: the same gains everywhere."""
    network = LiveFusion()
    start_maps(network.gains, network.output)
    return network
