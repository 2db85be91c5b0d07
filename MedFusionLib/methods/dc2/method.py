"""DC2Fusion behind the interface of methods that see volumes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from MedFusionLib.methods.dc2.weight_file import METHOD, load_network
from MedFusionLib.methods.trained import TrainedMethod, shown

WINDOW = (96, 128, 128)
"""Voxels, nearly a whole head in one direction; takes 0.6 GB."""


class DC2Method(TrainedMethod):
    """DC2Fusion with one set of weights."""

    name = METHOD
    window = WINDOW
    memory_format = torch.channels_last_3d

    @torch.inference_mode()
    def fuse_volume(self, reference: Tensor, other: Tensor) -> Tensor:
        """Fuse volumes (N, 1, D, H, W) in [0, 1]; black where both sources are black."""
        return shown(self._network(reference, other).float(), reference, other)

    def drawn(self, reference: Tensor, other: Tensor) -> Tensor:
        """Each slice as the middle of a volume that repeats it."""
        volumes = (
            slices.unsqueeze(2).expand(-1, -1, self.stride, -1, -1) for slices in (reference, other)
        )
        return self._network(*volumes)[:, :, self.stride // 2]


def create(device: torch.device, weights: str | Path | None = None) -> DC2Method:
    """The method with its shipped weights, or with the file of a training run."""
    return DC2Method(*load_network(weights), device)
