"""The wavelet autoencoder behind the interface that every fusion method has."""

from __future__ import annotations

from pathlib import Path

import torch

from MedFusionLib.methods.trained import TrainedMethod
from MedFusionLib.methods.wavelet.architecture import from_config
from MedFusionLib.methods.wavelet.weight_file import METHOD, load_network, network_from_state
from MedFusionLib.weights import load_weights


class WaveletMethod(TrainedMethod):
    """The wavelet autoencoder with one set of weights."""

    name = METHOD


def create(device: torch.device, weights: str | Path | None = None) -> WaveletMethod:
    """The method with its shipped weights, or with the file of a training run."""
    if weights is not None:
        network, sha256 = load_network(Path(weights))
        return WaveletMethod(network, sha256, device)
    state, entry = load_weights(METHOD)
    return WaveletMethod(network_from_state(state, from_config(entry.config)), entry.sha256, device)
