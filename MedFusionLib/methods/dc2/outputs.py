"""From the last tokens of DC2Fusion to the fused volume: as published, and by weighted bands."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.weighted_bands import WeightedBands

SIGMAS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Voxels; what is finer than the first is the first band, and so on."""
FINE = 2
"""Bands whose gains differ from voxel to voxel; those of the others are interpolated."""
SMOOTHNESS = (1.0, 2.0, 2.0, 4.0)
"""Tokens over which the gains of the other bands and, last, of what is smoother are smoothed: a
gain that varies as fast as its band makes structure of its own, above all the tokens' grid."""
_GAINS = 2 * len(SIGMAS)
_HIGHEST_GAIN = 1.5


class NormWeights(nn.Module):
    """Two maps, each weighted by its share of their absolute values (the paper's L1NW rule)."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.enlarging = nn.ConvTranspose3d(2 * width, width // 2, patch, stride=patch)
        self.maps = nn.Conv3d(width // 2, 2, 3, padding=1)

    def uncut(self, features: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        """From features (N, 2 width, D/patch, …) to (N, 1, D, H, W)."""
        maps = self.maps(self.enlarging(features))
        shares = maps.abs() / maps.abs().sum(1, keepdim=True).clamp(min=1e-8)
        return (shares * maps).sum(1, keepdim=True)

    def cut(self, uncut: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        """To [0, 1]; the authors leave it as it is."""
        return uncut.clamp(0, 1)


class VolumeBands(WeightedBands):
    """The sources' own bands of detail in 3D, each times a gain per voxel.

    As `WeightedBands` has it for slices: what neither source has cannot be drawn, and no contrast
    is turned round. Bands reach to 16 voxels (standard deviation), as a window's border is near.
    """

    channels = _GAINS + 3
    groups = (*[2] * (len(SIGMAS) - FINE), 3)
    """Coarse maps that are smoothed alike."""
    start = (*[math.log(2)] * _GAINS, 2.0, -1.0, -2.0)

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.enlarging = nn.ConvTranspose3d(2 * width, width // 2, patch, stride=patch)
        self.fine = nn.Conv3d(width // 2 + 2, 2 * FINE, 3, padding=1)
        self.coarse = nn.Conv3d(2 * width, self.channels - 2 * FINE, 1)
        for layer, values in (
            (self.fine, self.start[: 2 * FINE]),
            (self.coarse, self.start[2 * FINE :]),
        ):
            nn.init.zeros_(layer.weight)
            layer.bias = nn.Parameter(torch.tensor(values))

    def maps(self, features: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        """Unbounded maps (N, channels, D, H, W) from features (N, 2 width, D/patch, …)."""
        fine = self.fine(torch.cat([self.enlarging(features), reference, other], dim=1))
        coarse = self.coarse(features).split(self.groups, dim=1)
        smooth = [smoothed(maps, sigma) for maps, sigma in zip(coarse, SMOOTHNESS, strict=True)]
        enlarged = F.interpolate(
            torch.cat(smooth, dim=1), scale_factor=self.patch, mode="trilinear"
        )
        return torch.cat([fine, enlarged], dim=1)

    def uncut(self, maps: Tensor, *images: Tensor) -> Tensor:
        """The sum before it is cut to the range that can be shown, (N, 1, D, H, W).

        ``maps`` are features (N, 2 width, D/patch, …), the images both sources.
        """
        reference, other = images
        shares = torch.sigmoid(self.maps(maps, reference, other))
        bands, smoothest = split_volumes(torch.cat([reference, other], dim=1))
        details = (shares[:, :_GAINS] * torch.cat(bands, dim=1)).sum(1, keepdim=True)
        brighter, darker = smoothest.amax(1, keepdim=True), smoothest.amin(1, keepdim=True)
        base = shares[:, -3:-2] * brighter + shares[:, -2:-1] * darker
        return base + _HIGHEST_GAIN * details - shares[:, -1:]


def split_volumes(volumes: Tensor) -> tuple[list[Tensor], Tensor]:
    """Bands of volumes (N, C, D, H, W), finest first, and what is smoother; together the volumes.

    As in `weighted_bands.split`, and in three dimensions.
    """
    levels = [volumes, *(smoothed(volumes, sigma) for sigma in SIGMAS)]
    return [fine - smooth for fine, smooth in pairwise(levels)], levels[-1]


def smoothed(volumes: Tensor, sigma: float) -> Tensor:
    """Gaussian of ``sigma`` voxels along all three axes, the border's values continued."""
    for axis in (-3, -2, -1):
        # A product with a matrix takes the same short time for every width.
        matrix = _gaussian_matrix(volumes.shape[axis], sigma, volumes)
        volumes = (volumes.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return volumes


def _gaussian_matrix(length: int, sigma: float, like: Tensor) -> Tensor:
    """Row i holds the weights, of all voxels of a line, in the smoothed voxel i."""
    reach = math.ceil(3 * sigma)
    offsets = torch.arange(-reach, reach + 1, device=like.device)
    window = torch.exp(-(offsets**2) / (2 * sigma**2)).to(like.dtype)
    window = window / window.sum()
    places = (torch.arange(length, device=like.device)[:, None] + offsets).clamp(0, length - 1)
    matrix = torch.zeros(length, length, device=like.device, dtype=like.dtype)
    return matrix.scatter_add_(1, places, window.expand(length, -1))


def output_layer(kind: str, width: int, patch: int) -> NormWeights | VolumeBands:
    """The output of that name (`architecture.OUTPUTS`)."""
    return NormWeights(width, patch) if kind == "l1 norm weights" else VolumeBands(width, patch)
