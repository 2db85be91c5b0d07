"""Shifts, turns and flips under which a fused slice must stay one: EMMA's equivariance.

Zhao et al., CVPR 2024. All functions take a batch (N, 1, H, W) and return one batch after the
other, each moved in one way, side by side along the first dimension.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

FLIPS = ((3,), (2,), (2, 3))
FIRST_ANGLE = 10


@dataclass(frozen=True)
class Transforms:
    """How many of each kind; the defaults are the authors', ten batches with the unmoved one."""

    shifts: int = 3
    turns: int = 3
    flips: int = 3

    def draw(self, height: int, width: int) -> tuple[list[int], list[int]]:
        """Rows and columns of the shifts, drawn without zero and without repetition."""
        return _drawn(height, self.shifts), _drawn(width, self.shifts)

    def __call__(self, images: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
        """The images, and their shifted, turned and flipped copies."""
        return torch.cat(
            [
                images,
                *shifted(images, rows, columns),
                *turned(images, self.turns),
                *(images.flip(axes) for axes in FLIPS[: self.flips]),
            ]
        )


def shifted(images: Tensor, rows: Sequence[int], columns: Sequence[int]) -> list[Tensor]:
    """What leaves at one border comes back at the opposite one."""
    return [images.roll(steps, (2, 3)) for steps in zip(rows, columns, strict=True)]


def turned(images: Tensor, count: int) -> list[Tensor]:
    """Turned by ``count`` fixed angles, the first by 10 degrees, anticlockwise on the screen.

    Nothing is random here, as published; corners that no pixel reaches are 0.
    """
    step = int(360 / count) if count else 0
    return [_turn(images, FIRST_ANGLE + step * index) for index in range(count)]


def _turn(images: Tensor, degrees: float) -> Tensor:
    """Bilinear, about the centre of the slice; a pixel's place is counted as kornia 0.2 does."""
    height, width = images.shape[-2:]
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    # From -1 to 1 across the slice, whose sides may differ in length.
    ratio = (height - 1) / (width - 1)
    matrix = images.new_tensor([[cosine, -sine * ratio, 0], [sine / ratio, cosine, 0]])
    x = torch.linspace(-1, 1, width, dtype=images.dtype, device=images.device)
    y = torch.linspace(-1, 1, height, dtype=images.dtype, device=images.device)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    places = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1) @ matrix.T
    grid = places.expand(len(images), -1, -1, -1)
    return F.grid_sample(images, grid, align_corners=True)


def _drawn(side: int, count: int) -> list[int]:
    steps = [step for step in range(1 - side, side) if step]
    return random.sample(steps, count)
