"""Our own weight files of Hi-Net: safetensors with the architecture in the header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from MedFusionLib.methods.checkpoints import filled, stored_tensors
from MedFusionLib.methods.hinet.architecture import Architecture, from_config
from MedFusionLib.methods.hinet.network import HiNet
from MedFusionLib.weights import load_weights
from MedFusionLib.weights.files import read_weight_file, write_weight_file

METHOD = "hinet"


def network_from_state(state: Mapping[str, Tensor], architecture: Architecture) -> HiNet:
    """Network in evaluation mode, float32, from tensors under our names.

    Raises ``WeightsError`` naming what is missing, unexpected or of another shape.
    """
    return filled(HiNet(architecture), state)


def save_network(network: HiNet, path: Path) -> None:
    """Write a network's weights and architecture, whole or not at all."""
    write_weight_file(path, METHOD, stored_tensors(network), network.architecture.as_config())


def load_network(path: Path | None = None) -> tuple[HiNet, str]:
    """Network from a file that :func:`save_network` wrote, or the shipped one; its SHA-256."""
    if path is None:
        state, entry = load_weights(METHOD)
        return network_from_state(state, from_config(entry.config)), entry.sha256
    file = read_weight_file(path, METHOD)
    return network_from_state(file.tensors, from_config(file.config)), file.sha256
