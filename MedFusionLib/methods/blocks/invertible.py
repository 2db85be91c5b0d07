"""Couplings that lose nothing: Dinh et al., RealNVP, ICLR 2017, as CDDFuse uses them.

All maps are (N, C, H, W) with H and W of at least 2 pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class InvertedResidual(nn.Sequential):
    """1×1 to twice the channels, ReLU6, 3×3 of each map alone with mirrored borders, ReLU6, 1×1."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        hidden = 2 * channels_in
        super().__init__(
            nn.Conv2d(channels_in, hidden, 1, bias=False),
            nn.ReLU6(inplace=True),
            nn.Conv2d(
                hidden,
                hidden,
                3,
                padding=1,
                groups=hidden,
                bias=False,
                padding_mode="reflect",
            ),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, channels_out, 1, bias=False),
        )


class InvertibleCoupling(nn.Module):
    """Mix two halves, shift the second by the first, scale and shift the first by the second.

    Args:
        channels: of each half.
        exponent_limit: the scale's exponent is cut to this on either side; ``None`` leaves it as
            it is, which can overflow in half precision.
    """

    def __init__(self, channels: int, exponent_limit: float | None = None) -> None:
        super().__init__()
        self.exponent_limit = math.inf if exponent_limit is None else exponent_limit
        self.mixing = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.second_shift = InvertedResidual(channels, channels)
        self.first_scale = InvertedResidual(channels, channels)
        self.first_shift = InvertedResidual(channels, channels)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        first, second = self.mixing(torch.cat([first, second], dim=1)).chunk(2, dim=1)
        second = second + self.second_shift(first)
        exponent = self.first_scale(second).clamp(-self.exponent_limit, self.exponent_limit)
        return first * exponent.exp() + self.first_shift(second), second


class InvertibleStack(nn.Module):
    """Couplings in turn, on the two halves of the channels; ``channels`` is even."""

    def __init__(self, channels: int, couplings: int, exponent_limit: float | None = None) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(
            InvertibleCoupling(channels // 2, exponent_limit) for _ in range(couplings)
        )

    def forward(self, maps: Tensor) -> Tensor:
        first, second = maps.chunk(2, dim=1)
        for coupling in self.couplings:
            first, second = coupling(first, second)
        return torch.cat([first, second], dim=1)
