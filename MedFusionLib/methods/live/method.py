"""The live network behind the interface that every fusion method has, and its weight files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from MedFusionLib.errors import WeightsError
from MedFusionLib.methods.live.network import LiveFusion
from MedFusionLib.weights import load_weights
from MedFusionLib.weights.files import read_weight_file, write_weight_file

METHOD = "live"


class Live:
    """Fuse slices with the small network; H and W must be multiples of ``stride``."""

    name = METHOD
    stride = LiveFusion.stride

    def __init__(self, network: LiveFusion, weights_sha256: str, device: torch.device) -> None:
        # Neighbouring channels in memory: convolutions read them together.
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = network.eval().requires_grad_(False)
        self.weights_sha256 = weights_sha256

    @torch.inference_mode()
    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        """Fuse two batches (N, 1, H, W) in [0, 1]; black where both sources are black."""
        return self._network(reference, other).float()


def create(device: torch.device, weights: str | Path | None = None) -> Live:
    """The method with its shipped weights, or with a file that ``medfusion train live`` wrote.

    Raises ``WeightsError`` if the file is missing, damaged, or does not fit.
    """
    if weights is not None:
        file = read_weight_file(Path(weights), METHOD)
        return Live(network_from_state(file.tensors, file.config), file.sha256, device)
    state, entry = load_weights(METHOD)
    return Live(network_from_state(state, entry.config), entry.sha256, device)


def network_from_state(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> LiveFusion:
    """The network with these widths and tensors (of any floating type), as float32."""
    network = LiveFusion(tuple(config["widths"]))
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        raise WeightsError(f"The weights do not fit the live method's network: {error}") from error
    return network


def save_network(network: LiveFusion, path: Path) -> None:
    """Write a network's weights and widths, whole or not at all."""
    write_weight_file(path, METHOD, network.state_dict(), {"widths": list(network.widths)})
