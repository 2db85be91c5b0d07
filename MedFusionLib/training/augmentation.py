"""Random changes of a training batch, made on the device that trains.

Written on ``grid_sample`` rather than on a library of single-image transforms, which took 0.12 s
per pair on the training machine, more than the network's own step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes; angles in degrees, shifts in pixels of the slice."""

    crop: int = 96
    """Side of the square that is cut out, in pixels."""
    rotation: float = 12.0
    scale: float = 1.25
    """Largest enlargement; the smallest is its inverse."""
    warped_share: float = 0.5
    """Share of pairs that are rotated and scaled; the rest keep their pixels exactly."""
    misaligned_share: float = 0.3
    misalignment_shift: float = 2.0
    misalignment_rotation: float = 1.5
    gamma: float = 1.4
    window_share: float = 0.3
    noise_share: float = 0.2
    noise: float = 0.02

    def __call__(self, reference: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Two batches (N, 1, H, W) in [0, 1] to two of (N, 1, crop, crop) in [0, 1]."""
        reference, other = self.moved(reference, other)
        return self.intensity(reference), self.intensity(other)

    def moved(self, reference: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Squares at the same place of two batches (N, C, H, W), up to a registration's error.

        Whatever else is known of every pixel of an image can be further channels of it.
        """
        placement = self._placement(reference)
        error = self._misalignment(reference)
        return (
            _sample(reference, placement, self.crop),
            _sample(other, error @ placement, self.crop),
        )

    def _placement(self, images: Tensor) -> Tensor:
        """Crop centre, flips, and for some pairs rotation and scale: (N, 3, 3), in pixels."""
        count, device = len(images), images.device
        warped = _chosen(count, self.warped_share, device)
        angle = _uniform(count, self.rotation, device) * warped
        scale = self.scale ** (_uniform(count, 1.0, device) * warped)
        matrix = rotation_matrix(angle)
        matrix[:, :2, :2] *= _signs(count, device).unsqueeze(1) / scale.view(-1, 1, 1)
        matrix[:, :2, 2] = self._centres(images)
        return matrix

    def _centres(self, images: Tensor) -> Tensor:
        """Crop centres (N, 2) as x, y offsets from the slice's centre, in whole pixels."""
        height, width = images.shape[-2:]
        room = torch.tensor([width - self.crop, height - self.crop], device=images.device)
        corner = (torch.rand(len(images), 2, device=images.device) * (room + 1)).floor()
        return corner - room / 2

    def _misalignment(self, images: Tensor) -> Tensor:
        """What a registration may leave: a small rotation and shift of the other image."""
        count, device = len(images), images.device
        chosen = _chosen(count, self.misaligned_share, device)
        matrix = rotation_matrix(_uniform(count, self.misalignment_rotation, device) * chosen)
        matrix[:, 0, 2] = _uniform(count, self.misalignment_shift, device) * chosen
        matrix[:, 1, 2] = _uniform(count, self.misalignment_shift, device) * chosen
        return matrix

    def intensity(self, images: Tensor) -> Tensor:
        """Another window, another gamma, noise on what is not background."""
        count, device = len(images), images.device
        chosen = _chosen(count, self.window_share, device)
        low = (torch.rand(count, device=device) * 0.1 * chosen).view(-1, 1, 1, 1)
        high = (1 - torch.rand(count, device=device) * 0.4 * chosen).view(-1, 1, 1, 1)
        images = ((images - low) / (high - low)).clamp(0, 1)
        gamma = self.gamma ** _uniform(count, 1.0, device).view(-1, 1, 1, 1)
        noisy = _chosen(count, self.noise_share, device).view(-1, 1, 1, 1) * self.noise
        changed = images**gamma + torch.randn_like(images) * noisy
        return changed.clamp(0, 1) * (images > 0)


def rotation_matrix(degrees: Tensor) -> Tensor:
    """Homogeneous matrices (N, 3, 3) that turn the plane about its origin."""
    angle = degrees * (math.pi / 180)
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    rows = [
        torch.stack([angle.cos(), -angle.sin(), zero], dim=-1),
        torch.stack([angle.sin(), angle.cos(), zero], dim=-1),
        torch.stack([zero, zero, one], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def _sample(images: Tensor, matrix: Tensor, crop: int) -> Tensor:
    """Images (N, 1, H, W) at the pixels of a crop, moved by ``matrix`` about the image centre."""
    height, width = images.shape[-2:]
    # grid_sample counts from -1 to 1 across the whole image; the crop spans a part of it.
    size = torch.tensor([width, height], device=images.device, dtype=images.dtype)
    steps = torch.arange(crop, device=images.device, dtype=images.dtype) - (crop - 1) / 2
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1).view(1, -1, 3)
    moved = (points @ matrix.transpose(1, 2))[..., :2] * 2 / size
    return F.grid_sample(images, moved.view(-1, crop, crop, 2), align_corners=False)


def _uniform(count: int, limit: float, device: torch.device) -> Tensor:
    return (torch.rand(count, device=device) * 2 - 1) * limit


def _chosen(count: int, share: float, device: torch.device) -> Tensor:
    return (torch.rand(count, device=device) < share).float()


def _signs(count: int, device: torch.device) -> Tensor:
    """+1 or -1 for x and for y: (N, 2)."""
    return torch.randint(0, 2, (count, 2), device=device) * 2.0 - 1
