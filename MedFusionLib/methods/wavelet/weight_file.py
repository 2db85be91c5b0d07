"""Weight files of the wavelet autoencoder: safetensors with the architecture in the header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from MedFusionLib.methods.checkpoints import filled
from MedFusionLib.methods.wavelet.architecture import Architecture, from_config
from MedFusionLib.methods.wavelet.network import WaveletAutoencoder
from MedFusionLib.weights.files import read_weight_file, write_weight_file

METHOD = "wavelet"


def network_from_state(
    state: Mapping[str, Tensor], architecture: Architecture
) -> WaveletAutoencoder:
    """Network in evaluation mode, float32, from tensors under our names.

    Raises ``WeightsError`` naming what is missing, unexpected or of another shape.
    """
    return filled(WaveletAutoencoder(architecture), state)


def save_network(network: WaveletAutoencoder, path: Path) -> None:
    """Write a network's weights and architecture, whole or not at all."""
    write_weight_file(path, METHOD, network.state_dict(), network.architecture.as_config())


def load_network(path: Path) -> tuple[WaveletAutoencoder, str]:
    """Network from a file that :func:`save_network` wrote, and the file's SHA-256."""
    file = read_weight_file(path, METHOD)
    return network_from_state(file.tensors, from_config(file.config)), file.sha256
