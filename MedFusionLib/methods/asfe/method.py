"""ASFE-Fusion behind the interface that every fusion method has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from MedFusionLib.methods.asfe.architecture import from_config
from MedFusionLib.methods.asfe.folding import fold_norms
from MedFusionLib.methods.asfe.network import ASFEFusion
from MedFusionLib.methods.asfe.weight_file import load_network, network_from_state
from MedFusionLib.weights import load_weights


class ASFE:
    """Fuse slices with a trained network; H and W must be multiples of ``stride``."""

    name = "asfe"

    def __init__(self, network: ASFEFusion, weights_sha256: str, device: torch.device) -> None:
        fold_norms(network)
        # Neighbouring channels in memory: convolutions and attention read them together.
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = network.eval().requires_grad_(False)
        self.stride = network.architecture.stride
        self.weights_sha256 = weights_sha256

    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        """Fuse two batches (N, 1, H, W) in [0, 1]; black where both sources are black.

        The authors stretch each result to its own minimum and maximum, which lifts the black
        background and makes slices flicker; here the result is cut to [0, 1] instead.
        """
        with torch.inference_mode():
            fused = self._network(other, reference).float()
            return fused.clamp(0, 1) * (torch.maximum(reference, other) > 0)


def create(device: torch.device, weights: str | Path | None = None) -> ASFE:
    """The method with its shipped weights, or with a file that ``import-weights`` wrote."""
    if weights is not None:
        network, sha256 = load_network(Path(weights))
        return ASFE(network, sha256, device)
    state, entry = load_weights(ASFE.name)
    return ASFE(network_from_state(state, from_config(entry.config)), entry.sha256, device)
