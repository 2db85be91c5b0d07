"""ASFE-Fusion behind the interface that every fusion method has."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from MedFusionLib.methods.asfe.folding import fold_norms
from MedFusionLib.methods.asfe.network import ASFEFusion
from MedFusionLib.methods.asfe.weight_file import METHOD, load_network
from MedFusionLib.methods.trained import TrainedMethod


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
    return ASFE(*load_network(weights), device)
