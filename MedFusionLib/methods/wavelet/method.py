"""The wavelet autoencoder behind the interface that every fusion method has."""

from __future__ import annotations

from pathlib import Path

import torch

from MedFusionLib.methods.trained import TrainedMethod
from MedFusionLib.methods.wavelet.weight_file import METHOD, load_network


class WaveletMethod(TrainedMethod):
    """The wavelet autoencoder with one set of weights."""

    name = METHOD


def create(device: torch.device, weights: str | Path | None = None) -> WaveletMethod:
    """The method with its shipped weights, or with the file of a training run."""
    return WaveletMethod(*load_network(weights), device)
