"""AdaFuse behind the interface that every fusion method has."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from MedFusionLib.methods.adafuse.weight_file import METHOD, load_network
from MedFusionLib.methods.trained import TrainedMethod


class AdaFuseMethod(TrainedMethod):
    """AdaFuse with one set of weights."""

    name = METHOD

    def drawn(self, reference: Tensor, other: Tensor) -> Tensor:
        return self._network(other, reference)


def create(device: torch.device, weights: str | Path | None = None) -> AdaFuseMethod:
    """The method with its shipped weights, or with a file that ``import-weights`` wrote."""
    return AdaFuseMethod(*load_network(weights), device)
