"""Random changes of a pair of volumes under training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class VolumeAugmentation:
    """Crops of (1, 1, D, H, W) in [0, 1], turned, warped against each other, with other gammas."""

    depth: int = 32
    crop: int = 96
    stride: int = 16
    """The crop of a thinner volume has the largest multiple of this that it holds."""
    angle: float = 0.2
    """Radians about each axis, with a probability of ``turned_share`` each, as published."""
    turned_share: float = 0.1
    warp: float = 1.0
    """Voxels by which the other volume lies aside, smoothly varying, in ``warped_share``."""
    warped_share: float = 0.5
    gamma: float = 1.5
    """The authors draw the MR's from 0.1 to 2, which leaves little of some volumes."""
    noise: float = 0.02
    noise_share: float = 0.3

    def __call__(self, reference: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Two volumes to crops (1, 1, d, h, w) of both at the same place."""
        size = self.size(reference.shape[-3:])
        places = self._places(reference, size)
        return (
            self._intensity(_sampled(reference, places)),
            self._intensity(_sampled(other, places + self._aside(size))),
        )

    def size(self, shape: torch.Size) -> tuple[int, int, int]:
        """Voxels of the crop along each axis; the smallest one is one stride."""
        wanted = (self.depth, self.crop, self.crop)
        depth, height, width = (
            max(min(length // self.stride * self.stride, side), self.stride)
            for length, side in zip(shape, wanted, strict=True)
        )
        return depth, height, width

    def _places(self, volume: Tensor, size: tuple[int, int, int]) -> Tensor:
        """Where in the volume each voxel of the crop lies: (d, h, w, 3), z, y, x in voxels."""
        steps = [torch.arange(length) - (length - 1) / 2 for length in size]
        offsets = torch.stack(torch.meshgrid(*steps, indexing="ij"), dim=-1)
        flips = torch.tensor([1.0, 1.0, float(torch.randint(0, 2, ()) * 2 - 1)])
        room = torch.tensor(volume.shape[-3:]) - torch.tensor(size)
        corner = (torch.rand(3) * (room.clamp(min=0) + 1)).floor() + room.clamp(max=0) / 2
        centre = corner + (torch.tensor(size) - 1) / 2
        return (offsets * flips) @ self._turn().T + centre

    def _turn(self) -> Tensor:
        generators = torch.zeros(3, 3)
        for one, two in ((1, 2), (0, 2), (0, 1)):
            if torch.rand(()) < self.turned_share:
                angle = (torch.rand(()) * 2 - 1) * self.angle
                generators[one, two], generators[two, one] = -angle, angle
        return torch.matrix_exp(generators)

    def _aside(self, size: tuple[int, int, int]) -> Tensor:
        """Smooth displacements (d, h, w, 3) of at most ``warp`` voxels along each axis."""
        if torch.rand(()) >= self.warped_share:
            return torch.zeros(*size, 3)
        knots = torch.rand(1, 3, 3, 4, 4) * 2 - 1
        field = F.interpolate(knots, size, mode="trilinear", align_corners=True)
        return self.warp * field[0].movedim(0, -1)

    def _intensity(self, volume: Tensor) -> Tensor:
        gamma = self.gamma ** float(torch.rand(()) * 2 - 1)
        noise = self.noise * float(torch.rand(()) < self.noise_share)
        changed = volume**gamma + torch.randn_like(volume) * noise
        return changed.clamp(0, 1) * (volume > 0)


def _sampled(volume: Tensor, places: Tensor) -> Tensor:
    """(1, 1, D, H, W) at places (d, h, w, 3) in voxels, interpolated linearly; black beyond."""
    size = torch.tensor(volume.shape[-3:], dtype=places.dtype)
    # grid_sample counts x, y, z from -1 to 1 across the whole volume.
    grid = ((2 * places + 1) / size - 1).flip(-1).to(volume)
    return F.grid_sample(volume, grid[None], align_corners=False)
