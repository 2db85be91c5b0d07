"""DFVO behind the interface that every fusion method has."""

from __future__ import annotations

from pathlib import Path

import torch

from MedFusionLib.methods.dfvo.architecture import from_config
from MedFusionLib.methods.dfvo.weight_file import METHOD, load_network, network_from_state
from MedFusionLib.methods.trained import TrainedMethod
from MedFusionLib.weights import load_weights


class DFVOMethod(TrainedMethod):
    """DFVO with one set of weights."""

    name = METHOD


def create(device: torch.device, weights: str | Path | None = None) -> DFVOMethod:
    """The method with its shipped weights, or with a file that ``import-weights`` wrote."""
    if weights is not None:
        network, sha256 = load_network(Path(weights))
        return DFVOMethod(network, sha256, device)
    state, entry = load_weights(METHOD)
    return DFVOMethod(network_from_state(state, from_config(entry.config)), entry.sha256, device)
