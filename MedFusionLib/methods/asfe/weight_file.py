"""Our own weight files of ASFE-Fusion: safetensors with the architecture in the header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from MedFusionLib.methods.asfe.architecture import Architecture, from_config
from MedFusionLib.methods.asfe.network import ASFEFusion
from MedFusionLib.methods.checkpoints import refuse_misfits
from MedFusionLib.weights.files import read_weight_file, write_weight_file

METHOD = "asfe"
_COUNTER = "num_batches_tracked"


def empty_network(architecture: Architecture) -> ASFEFusion:
    """A network without memory, whose tensors must still be assigned.

    Drawing 176 million random numbers only to overwrite them takes seconds.
    """
    with torch.device("meta"):
        return ASFEFusion(architecture)


def stored_keys(network: ASFEFusion) -> dict[str, torch.Size]:
    """Names and shapes of what a weight file holds: all but the counters of batches."""
    state = network.state_dict()
    return {key: value.shape for key, value in state.items() if not key.endswith(_COUNTER)}


def network_from_state(state: Mapping[str, Tensor], architecture: Architecture) -> ASFEFusion:
    """Network in evaluation mode, float32, from tensors under our names.

    Raises ``WeightsError`` naming what is missing, unexpected or of another shape.
    """
    network = empty_network(architecture)
    refuse_misfits(stored_keys(network), state)
    counters = {key: torch.tensor(0) for key in network.state_dict() if key.endswith(_COUNTER)}
    weights = {key: tensor.detach().clone().float() for key, tensor in state.items()}
    network.load_state_dict(weights | counters, assign=True)
    # Assigned tensors carry their own flag, and loaded ones need no gradient.
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return network.eval()


def save_network(network: ASFEFusion, path: Path) -> None:
    """Write a network's weights and architecture, whole or not at all."""
    state = network.state_dict()
    tensors = {key: state[key] for key in stored_keys(network)}
    write_weight_file(path, METHOD, tensors, network.architecture.as_config())


def load_network(path: Path) -> tuple[ASFEFusion, str]:
    """Network from a file that :func:`save_network` wrote, and the file's SHA-256."""
    file = read_weight_file(path, METHOD)
    return network_from_state(file.tensors, from_config(file.config)), file.sha256
