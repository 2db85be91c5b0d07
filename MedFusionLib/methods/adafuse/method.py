"""AdaFuse behind the interface that every fusion method has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from MedFusionLib.methods.adafuse.architecture import Architecture
from MedFusionLib.methods.adafuse.network import AdaFuse
from MedFusionLib.methods.adafuse.weight_file import METHOD, load_network, network_from_state
from MedFusionLib.weights import load_weights


class AdaFuseMethod:
    """Fuse slices with a trained network; H and W must be multiples of ``stride``."""

    name = METHOD

    def __init__(self, network: AdaFuse, weights_sha256: str, device: torch.device) -> None:
        # Neighbouring channels in memory: convolutions and attention read them together.
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = network.eval().requires_grad_(False)
        self.stride = network.architecture.stride
        self.weights_sha256 = weights_sha256

    @torch.inference_mode()
    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        """Fuse two batches (N, 1, H, W) in [0, 1]; black where both sources are black.

        The authors stretch each result to its own minimum and maximum, which lifts the black
        background and makes slices flicker; here the result is cut to [0, 1] instead.
        """
        fused = self._network(other, reference).float()
        return fused.clamp(0, 1) * (torch.maximum(reference, other) > 0)


def create(device: torch.device, weights: str | Path | None = None) -> AdaFuseMethod:
    """The method with its shipped weights, or with a file that ``import-weights`` wrote."""
    if weights is not None:
        network, sha256 = load_network(Path(weights))
        return AdaFuseMethod(network, sha256, device)
    state, entry = load_weights(METHOD)
    network = network_from_state(state, Architecture(**entry.config))
    return AdaFuseMethod(network, entry.sha256, device)
