"""Hi-Net on batches of slices: what ``computing.device.run_in_batches`` runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from MedFusionLib.methods.hinet.network import HiNet, Synthesis
from MedFusionLib.slices.intensity import Window
from MedFusionLib.slices.painting import GREY_MAXIMUM
from MedFusionLib.slices.stack import pad_to_stride


class SliceSynthesis:
    """Fills the stacks of a synthetic volume and of its expected error.

    All stacks are (slices, H, W). ``first`` and ``second`` are in the network's order, with their
    ``windows``; where ``covered`` is false, or both inputs show background, both results stay 0.
    """

    def __init__(
        self,
        network: HiNet,
        device: torch.device,
        windows: Sequence[Window],
        first: np.ndarray,
        second: np.ndarray,
        covered: np.ndarray,
        made: np.ndarray,
        error: np.ndarray,
    ) -> None:
        self.device = device
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.eval().requires_grad_(False)
        self._sources = list(zip((first, second), windows, strict=True))
        self._covered = covered
        self._made, self._error = made, error

    @torch.inference_mode()
    def __call__(self, batch: Sequence[int], following: Sequence[int] = ()) -> None:
        indices = list(batch)
        units = [window.to_unit(stack[indices]) for stack, window in self._sources]
        shown = (np.maximum(*units) > 0) & self._covered[indices]
        height, width = shown.shape[1:]
        first, second = (
            pad_to_stride(torch.from_numpy(unit)[:, None], self.network.architecture.stride)
            .to(self.device)
            .mul(2)
            .sub(1)
            for unit in units
        )
        given = self.network(first, second)
        target = (given.target[..., :height, :width] + 1) / 2
        error = expected_error(given, first, second)[..., :height, :width]
        self._made[indices] = _grey(target[:, 0].cpu().numpy()) * shown
        self._error[indices] = _grey(error[:, 0].cpu().numpy()) * shown

    def continue_on_cpu(self, first: int) -> None:
        """Go on with slice ``first`` on the CPU, where the GPU's memory did not suffice."""
        self.device = torch.device("cpu")
        self.network = self.network.to(self.device)


def expected_error(given: Synthesis, first: Tensor, second: Tensor) -> Tensor:
    """(N, 1, H, W), of 1: what the network expects, else how badly it rebuilds its inputs."""
    if given.error is not None:
        return given.error / 2
    return ((given.first - first).abs() + (given.second - second).abs()) / 4


def _grey(unit: np.ndarray) -> np.ndarray:
    """0 … 1 to int16 0 … 4095."""
    return np.rint(np.clip(unit, 0, 1) * GREY_MAXIMUM).astype(np.int16)
