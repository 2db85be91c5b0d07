"""The decoder of ASFE-Fusion: convolutions that climb back to full resolution with skips."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DecoderBlock(nn.Module):
    """Two normalised 3x3 convolutions, ``enlargement``, then GELU.

    ``enlargement`` is :class:`DoubledSize` or ``nn.Identity`` for the last block.
    """

    def __init__(
        self, channels_in: int, hidden: int, channels_out: int, enlargement: nn.Module
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, hidden, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, channels_out, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.enlargement = enlargement

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.norm2(self.conv2(self.norm1(self.conv1(maps))))
        return F.gelu(self.enlargement(maps))


class DoubledSize(nn.Module):
    """Bilinear interpolation to twice H and W, corner pixels staying corners."""

    def forward(self, maps: Tensor) -> Tensor:
        return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=True)


class Decoder(nn.Module):
    """Fused maps of four levels to the last feature map at full resolution.

    ``fused_widths`` are the channels of the fused maps from full to eighth resolution;
    ``hidden`` and ``outputs`` the widths inside and after each block, in the same order. Returns
    ``(N, outputs[0], H, W)``.
    """

    def __init__(
        self, fused_widths: tuple[int, ...], hidden: tuple[int, ...], outputs: tuple[int, ...]
    ) -> None:
        super().__init__()
        arriving = (*outputs[1:], 0)
        self.blocks = nn.ModuleList(
            DecoderBlock(
                fused_widths[level] + arriving[level],
                hidden[level],
                outputs[level],
                DoubledSize() if level > 0 else nn.Identity(),
            )
            for level in range(len(fused_widths))
        )

    def forward(self, fused: list[Tensor]) -> Tensor:
        maps = self.blocks[-1](fused[-1])
        for block, skip in zip(reversed(self.blocks[:-1]), reversed(fused[:-1]), strict=True):
            maps = block(torch.cat([maps, skip], dim=1))
        return maps
