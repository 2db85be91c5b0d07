"""CDDFuse behind the interface that every fusion method has."""

from __future__ import annotations

from pathlib import Path

import torch

from MedFusionLib.methods.cddfuse.weight_file import METHOD, load_network
from MedFusionLib.methods.trained import TrainedMethod


class CDDFuseMethod(TrainedMethod):
    """CDDFuse with one set of weights."""

    name = METHOD


def create(device: torch.device, weights: str | Path | None = None) -> CDDFuseMethod:
    """The method with its shipped weights, or with a file that ``import-weights`` wrote."""
    return CDDFuseMethod(*load_network(weights), device)
