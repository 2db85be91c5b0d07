"""Our own weight files of CDDFuse: safetensors with the architecture in the header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from MedFusionLib.methods.cddfuse.architecture import Architecture, from_config
from MedFusionLib.methods.cddfuse.network import CDDFuse
from MedFusionLib.methods.checkpoints import filled
from MedFusionLib.weights.files import read_weight_file, write_weight_file

METHOD = "cddfuse"


def network_from_state(state: Mapping[str, Tensor], architecture: Architecture) -> CDDFuse:
    """Network in evaluation mode, float32, from tensors under our names.

    Raises ``WeightsError`` naming what is missing, unexpected or of another shape.
    """
    return filled(CDDFuse(architecture), state)


def save_network(network: CDDFuse, path: Path) -> None:
    """Write a network's weights and architecture, whole or not at all."""
    write_weight_file(path, METHOD, network.state_dict(), network.architecture.as_config())


def load_network(path: Path) -> tuple[CDDFuse, str]:
    """Network from a file that :func:`save_network` wrote, and the file's SHA-256."""
    file = read_weight_file(path, METHOD)
    return network_from_state(file.tensors, from_config(file.config)), file.sha256
