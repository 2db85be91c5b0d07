"""Weight files of the network that refines slices: shipped, or of one's own training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from MedFusionLib.errors import WeightsError
from MedFusionLib.methods.checkpoints import filled
from MedFusionLib.refining.network import Architecture, SliceRefiner
from MedFusionLib.weights import load_weights
from MedFusionLib.weights.files import read_weight_file, write_weight_file

NAME = "finer"


def save_network(network: SliceRefiner, path: Path) -> None:
    """Write a network's weights and architecture, whole or not at all."""
    write_weight_file(path, NAME, network.state_dict(), network.architecture.as_config())


def load_network(path: Path) -> tuple[SliceRefiner, str]:
    """Network from a file that :func:`save_network` wrote, and the file's SHA-256."""
    file = read_weight_file(path, NAME)
    return network_from_state(file.tensors, file.config), file.sha256


def shipped_network() -> tuple[SliceRefiner, str]:
    """The network that MedFusion ships, and the SHA-256 of its file."""
    state, entry = load_weights(NAME)
    return network_from_state(state, entry.config), entry.sha256


def network_from_state(state: Mapping[str, Tensor], config: Mapping[str, int]) -> SliceRefiner:
    """The network of this size with these tensors, in evaluation mode."""
    try:
        architecture = Architecture(**config)
    except TypeError as error:
        raise WeightsError(f"The size of the slice refiner is damaged: {error}.") from error
    return filled(SliceRefiner(architecture), state)
