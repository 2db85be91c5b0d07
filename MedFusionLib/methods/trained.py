"""What the methods that are one trained network share behind the interface of every method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class TrainedMethod:
    """Fuse slices with a trained network; H and W must be multiples of ``stride``.

    ``network`` takes reference and other, (N, 1, H, W) in [0, 1] each, and has its stride in
    ``network.architecture``; a subclass whose network takes the other one first exchanges them in
    :meth:`drawn`.
    """

    name: str
    memory_format = torch.channels_last
    """Neighbouring channels in memory: norms, convolutions and attention read them together."""

    def __init__(self, network: Any, weights_sha256: str, device: torch.device) -> None:
        network.to(device, memory_format=self.memory_format)
        self._network = network.eval().requires_grad_(False)
        self.stride: int = network.architecture.stride
        self.weights_sha256 = weights_sha256

    @torch.inference_mode()
    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        """Fuse two batches (N, 1, H, W) in [0, 1]; black where both sources are black.

        The papers' authors stretch each result to its own minimum and maximum, which lifts the
        black background and makes slices flicker; here the result is cut to [0, 1] instead.
        """
        return shown(self.drawn(reference, other).float(), reference, other)

    def drawn(self, reference: Tensor, other: Tensor) -> Tensor:
        """The fused slices as the network gives them."""
        return self._network(reference, other)


def shown(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """Fused slices as they are shown: within [0, 1], and black where both sources are black."""
    return fused.clamp(0, 1) * (torch.maximum(reference, other) > 0)
