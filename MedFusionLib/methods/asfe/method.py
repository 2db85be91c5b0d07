"""ASFE-Fusion behind the interface that every fusion method has."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from MedFusionLib.methods.asfe.architecture import from_config
from MedFusionLib.methods.asfe.folding import fold_norms
from MedFusionLib.methods.asfe.network import ASFEFusion
from MedFusionLib.methods.asfe.weight_file import METHOD, load_network, network_from_state
from MedFusionLib.methods.trained import TrainedMethod
from MedFusionLib.weights import load_weights


class ASFE(TrainedMethod):
    """ASFE-Fusion with one set of weights."""

    name = METHOD

    def __init__(self, network: ASFEFusion, weights_sha256: str, device: torch.device) -> None:
        fold_norms(network)
        super().__init__(network, weights_sha256, device)

    def drawn(self, reference: Tensor, other: Tensor) -> Tensor:
        return self._network(other, reference)


def create(device: torch.device, weights: str | Path | None = None) -> ASFE:
    """The method with its shipped weights, or with a file that ``import-weights`` wrote."""
    if weights is not None:
        network, sha256 = load_network(Path(weights))
        return ASFE(network, sha256, device)
    state, entry = load_weights(METHOD)
    return ASFE(network_from_state(state, from_config(entry.config)), entry.sha256, device)
