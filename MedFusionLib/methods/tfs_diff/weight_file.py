"""Our own weight files of TFS-Diff: safetensors with the architecture in the header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from MedFusionLib.methods.checkpoints import filled, stored_tensors
from MedFusionLib.methods.tfs_diff.architecture import Architecture, from_config
from MedFusionLib.methods.tfs_diff.network import TFSDiff
from MedFusionLib.weights.files import read_weight_file, write_weight_file

METHOD = "tfs-diff"


def empty_network(architecture: Architecture) -> TFSDiff:
    """A network without memory, whose tensors must still be assigned."""
    with torch.device("meta"):
        return TFSDiff(architecture)


def network_from_state(state: Mapping[str, Tensor], architecture: Architecture) -> TFSDiff:
    """Network in evaluation mode, float32, from tensors under our names.

    Raises ``WeightsError`` naming what is missing, unexpected or of another shape.
    """
    return filled(empty_network(architecture), state)


def save_network(network: TFSDiff, path: Path) -> None:
    """Write a network's weights and architecture, whole or not at all."""
    write_weight_file(path, METHOD, stored_tensors(network), network.architecture.as_config())


def load_network(path: Path) -> tuple[TFSDiff, str]:
    """Network from a file that :func:`save_network` wrote, and the file's SHA-256."""
    file = read_weight_file(path, METHOD)
    return network_from_state(file.tensors, from_config(file.config)), file.sha256
