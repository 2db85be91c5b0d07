"""Slices between the host's memory and the device's.

On CUDA both ways go through pinned memory and do not wait: a batch travels to the GPU on a stream
of its own while the network works on the batch before it, and back while it works on the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Arrival = Callable[[], np.ndarray]
"""Waits for a copy from the device, and gives it."""


class Transfer:
    """Copies that are done when the call returns: for the CPU and every device but CUDA."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def to_device(self, unit: np.ndarray) -> Tensor:
        """Slices (N, H, W) float32 as (N, 1, H, W) on the device; on the CPU without a copy."""
        return _as_tensor(unit).to(self.device)

    def use(self, slices: Tensor) -> Tensor:
        """The slices, ready to be computed with."""
        return slices

    def to_host(self, fused: Tensor) -> Arrival:
        """Begin to bring (N, 1, H, W) back as an array (N, H, W)."""
        array = fused[:, 0].cpu().numpy()
        return lambda: array


class CudaTransfer(Transfer):
    """Copies that go on while the GPU computes."""

    def __init__(self, device: torch.device) -> None:
        import torch

        super().__init__(device)
        self._stream = torch.cuda.Stream(device)

    def to_device(self, unit: np.ndarray) -> Tensor:
        import torch

        pinned = _as_tensor(unit).pin_memory()
        with torch.cuda.stream(self._stream):
            return pinned.to(self.device, non_blocking=True)

    def use(self, slices: Tensor) -> Tensor:
        import torch

        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._stream)
        # The memory belongs to the copying stream, which must not reuse it while it is read.
        slices.record_stream(computing)
        return slices

    def to_host(self, fused: Tensor) -> Arrival:
        import torch

        host = torch.empty(fused.shape, dtype=fused.dtype, pin_memory=True)
        host.copy_(fused, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(self.device))

        def wait() -> np.ndarray:
            arrived.synchronize()
            return host[:, 0].numpy()

        return wait


def transfer_for(device: torch.device) -> Transfer:
    """The way to a device and back."""
    return CudaTransfer(device) if device.type == "cuda" else Transfer(device)


def _as_tensor(unit: np.ndarray) -> Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(unit))[:, None]
