"""What a trained network adds to the slices that a spline interpolates between thick ones.

It sees four measured slices, the two before and the two behind, and says which share of the most
that may be added is. That is bounded: nothing on a measured slice, and nothing where the two
measured slices beside show the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from MedFusionLib.errors import WeightsError

MOST_ADDED = 0.5
"""Midway between two slices, as a share of what they differ by within 3×3 pixels."""
NEIGHBOURS = (-1, 0, 1, 2)
"""Measured slices that are seen, counted from the one before."""
PLANES = len(NEIGHBOURS) + 3


@dataclass(frozen=True)
class Architecture:
    """Channels, and residual blocks of two convolutions each."""

    width: int = 24
    blocks: int = 4

    def as_config(self) -> dict[str, Any]:
        return asdict(self)


def from_config(config: Mapping[str, int]) -> Architecture:
    """The size that a weight file's header describes; raises ``WeightsError`` for another one."""
    try:
        return Architecture(**config)
    except TypeError as error:
        raise WeightsError(f"The size of the slice refiner is damaged: {error}.") from error


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, whose result is added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.second(functional.silu(self.first(functional.silu(maps))))


class SliceRefiner(nn.Module):
    """Interpolated slices, and what was measured around them, to refined slices.

    There is no normalisation: a slice's result does not depend on its batch, nor on what fills the
    rest of it. Untrained it adds nothing.
    """

    def __init__(self, architecture: Architecture = Architecture()) -> None:
        super().__init__()
        self.architecture = architecture
        width = architecture.width
        self.enter = nn.Conv2d(PLANES, width, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(architecture.blocks)))
        self.leave = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, measured: Tensor, smooth: Tensor, place: Tensor, step: Tensor) -> Tensor:
        """What is to be added to ``smooth``, (N, 1, H, W).

        Args:
            measured: (N, 4, H, W) in [0, 1], the measured slices ``NEIGHBOURS``.
            smooth: (N, 1, H, W), the slices that the spline interpolates there.
            place: (N), between the slice before (0) and the one behind (1).
            step: (N), distance of the measured slices over that of their pixels.
        """
        constant = torch.stack([place, step / 6], dim=1)[:, :, None, None]
        planes = [measured - smooth, smooth, constant.expand(-1, -1, *smooth.shape[2:])]
        maps = self.blocks(self.enter(torch.cat(planes, dim=1)))
        share = torch.tanh(self.leave(functional.silu(maps)))
        return most_added(measured, place) * share


def most_added(measured: Tensor, place: Tensor) -> Tensor:
    """(N, 1, H, W): the bound of what is added, up or down.

    It is ``MOST_ADDED · 4 t (1 - t)`` times the largest difference of the two slices beside within
    3×3 pixels, at the place t between them.
    """
    difference = (measured[:, 1:2] - measured[:, 2:3]).abs()
    largest = functional.max_pool2d(difference, 3, stride=1, padding=1)
    return largest * (4 * MOST_ADDED * place * (1 - place))[:, None, None, None]
