"""AdaFuse behind the interface that every fusion method has."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from MedFusionLib.methods.adafuse.architecture import Architecture
from MedFusionLib.methods.adafuse.weight_file import METHOD, load_network, network_from_state
from MedFusionLib.methods.trained import TrainedMethod
from MedFusionLib.weights import load_weights


class AdaFuseMethod(TrainedMethod):
    """AdaFuse with one set of weights."""

    name = METHOD

    def drawn(self, reference: Tensor, other: Tensor) -> Tensor:
        return self._network(other, reference)


def create(device: torch.device, weights: str | Path | None = None) -> AdaFuseMethod:
    """The method with its shipped weights, or with a file that ``import-weights`` wrote."""
    if weights is not None:
        network, sha256 = load_network(Path(weights))
        return AdaFuseMethod(network, sha256, device)
    state, entry = load_weights(METHOD)
    network = network_from_state(state, Architecture(**entry.config))
    return AdaFuseMethod(network, entry.sha256, device)
