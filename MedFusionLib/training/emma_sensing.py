"""The pseudo-sensing networks of EMMA: from a fused slice back to what each scanner saw.

Zhao et al., CVPR 2024. They are an aid of training: the fusion network never meets them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.checkpoints import filled, stored_tensors
from MedFusionLib.weights.files import read_weight_file, write_weight_file

METHOD = "emma-sensing"
LEVELS = 5
PRESETS = {"paper": 64, "compact": 16}
"""Maps of the finest level; each coarser one has twice as many."""


class ConvolutionPair(nn.Sequential):
    """Twice a 3×3 convolution, batch normalisation and ReLU."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )


class SensingNetwork(nn.Module):
    """A U-shaped network of five levels: (N, 1, H, W) to the same size, between 0 and 1.

    H and W must be multiples of 16.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(LEVELS)]
        self.encoders = nn.ModuleList(
            ConvolutionPair(before, after)
            for before, after in zip((1, *widths), widths, strict=False)
        )
        self.doublings = nn.ModuleList(
            nn.ConvTranspose2d(2 * fine, fine, 4, 2, 1, bias=False) for fine in widths[:-1]
        )
        self.decoders = nn.ModuleList(ConvolutionPair(2 * fine, fine) for fine in widths[:-1])
        self.projection = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        encoded = [self.encoders[0](image)]
        for encoder in self.encoders[1:]:
            encoded.append(encoder(F.max_pool2d(encoded[-1], 2)))
        maps = encoded.pop()
        for level in reversed(range(LEVELS - 1)):
            doubled = F.relu(self.doublings[level](maps))
            maps = self.decoders[level](torch.cat([doubled, encoded[level]], dim=1))
        return torch.sigmoid(self.projection(maps))


class SensingPair(nn.Module):
    """Both networks: fused slices to the reference's and the other's, (N, 1, H, W) each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.reference = SensingNetwork(width)
        self.other = SensingNetwork(width)

    def forward(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        return self.reference(fused), self.other(fused)


def save_pair(pair: SensingPair, path: Path) -> None:
    """Write both networks, whole or not at all."""
    write_weight_file(path, METHOD, stored_tensors(pair), {"width": pair.width})


def load_pair(path: Path) -> SensingPair:
    """Both networks, in evaluation mode, from a file that :func:`save_pair` wrote.

    Raises ``WeightsError`` if there is none, it is damaged, or it belongs to something else.
    """
    file = read_weight_file(path, METHOD)
    return pair_from_state(file.tensors, file.config)


def pair_from_state(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> SensingPair:
    """Both networks, in evaluation mode, from stored tensors under our names."""
    return filled(SensingPair(int(config["width"])), state)
