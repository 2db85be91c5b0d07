"""EMMA behind the interface that every fusion method has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from MedFusionLib.methods.emma.architecture import from_config
from MedFusionLib.methods.emma.network import UFuser
from MedFusionLib.methods.emma.weight_file import METHOD, load_network, network_from_state
from MedFusionLib.weights import load_weights


class EMMA:
    """Fuse slices with a trained network; H and W must be multiples of ``stride``."""

    name = METHOD

    def __init__(self, network: UFuser, weights_sha256: str, device: torch.device) -> None:
        # Neighbouring channels in memory: norms and 1×1 convolutions read them together.
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = network.eval().requires_grad_(False)
        self.stride = network.architecture.stride
        self.weights_sha256 = weights_sha256

    @torch.inference_mode()
    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        """Fuse two batches (N, 1, H, W) in [0, 1]; black where both sources are black.

        The authors stretch each result to its own minimum and maximum, which makes neighbouring
        slices flicker; here it stays as the network's output cuts it, between 0 and 1.
        """
        fused = self._network(reference, other).float()
        return fused * (torch.maximum(reference, other) > 0)


def create(device: torch.device, weights: str | Path | None = None) -> EMMA:
    """The method with its shipped weights, or with a file that ``import-weights`` wrote."""
    if weights is not None:
        network, sha256 = load_network(Path(weights))
        return EMMA(network, sha256, device)
    state, entry = load_weights(METHOD)
    return EMMA(network_from_state(state, from_config(entry.config)), entry.sha256, device)
