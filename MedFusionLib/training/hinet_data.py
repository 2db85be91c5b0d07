"""Axial slices of a head's tissue maps, from which Hi-Net's training models its sequences.

No head at hand was scanned with three sequences. So the sequences are modelled from one template's
maps of grey and white matter (``hinet_contrasts``), and only its T1 is an acquired image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler, Subset

from MedFusionLib.errors import InputError
from MedFusionLib.slices.stack import slice_stack
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.volume import Volume, same_grid, to_image

SIDE = 256
"""Slices are padded to squares of this many pixels: room for the skull around the brain."""
NEAR = 50.0
"""From here on, in mm, all is equally far from the brain; a map of 0 is then empty space."""
LEAST_BRAIN = 500
"""Slices with fewer pixels of brain are left out."""
SLAB = 10
"""Slices in a row that are all for training or all for validation."""
DEV_EVERY = 5
"""Every n-th slab validates."""


@dataclass(frozen=True)
class Head:
    """Maps of one brain on a grid of about 1 mm: T1 without skull, and the tissues' shares."""

    t1: Volume
    grey: Volume
    white: Volume

    def __post_init__(self) -> None:
        if not (same_grid(self.t1, self.grey) and same_grid(self.t1, self.white)):
            raise InputError("The T1 and the maps of grey and white matter have different grids.")

    def slices(self) -> Tensor:
        """All axial slices with brain, float16 (N, 5, SIDE, SIDE).

        Channels: shares of grey matter, white matter and cerebrospinal fluid (0 … 1, together 1
        inside the brain), T1 (0 … 1), nearness: ``NEAR`` less the distance from the brain in mm.
        """
        brain = self.t1.voxels > 0
        grey, white = (
            volume.voxels / np.float32(255) * brain for volume in (self.grey, self.white)
        )
        fluid = np.clip(1 - grey - white, 0, 1) * brain
        t1 = self.t1.voxels / np.float32(self.t1.voxels.max())
        image = to_image(self.t1)
        inside = SimpleITK.Cast(image > 0, SimpleITK.sitkUInt8)
        distance = SimpleITK.SignedMaurerDistanceMap(inside, False, False, True)
        outside = np.clip(SimpleITK.GetArrayFromImage(distance), 0, NEAR)
        channels = [
            np.stack(list(slice_stack(map_, self.t1.direction_matrix, "axial")))
            for map_ in (grey, white, fluid, t1, NEAR - outside)
        ]
        stack = torch.from_numpy(np.stack(channels, axis=1)).half()
        return _padded(stack[(brain_area(stack) >= LEAST_BRAIN)])


def brain_area(slices: Tensor) -> Tensor:
    """Pixels of brain in each slice of :meth:`Head.slices`, (N,)."""
    return slices[:, :3].sum(1, dtype=torch.float32).flatten(1).sum(1)


def _padded(slices: Tensor) -> Tensor:
    height, width = slices.shape[-2:]
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    return F.pad(slices, (left, SIDE - width - left, top, SIDE - height - top))


def read_head(folder: Path, t1: str, grey: str, white: str) -> Head:
    """The three volumes by their names in a folder; ``InputError`` for what is missing."""
    return Head(*(read_volume(folder / name, "MR") for name in (t1, grey, white)))


class _Slices(Dataset[Tensor]):
    def __init__(self, slices: Tensor) -> None:
        self.slices = slices

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> Tensor:
        return self.slices[index].float()


def loaders(
    slices: Tensor, batch_size: int, steps: int, seed: int
) -> tuple[DataLoader[Tensor], DataLoader[Tensor]]:
    """``steps`` batches of slices for training, and slabs of neighbours kept for validation."""
    slab = torch.arange(len(slices)) // SLAB
    is_dev = slab % DEV_EVERY == DEV_EVERY // 2
    data = _Slices(slices)
    train = Subset(data, torch.nonzero(~is_dev).flatten().tolist())
    dev = Subset(data, torch.nonzero(is_dev).flatten().tolist()[::2])
    order = torch.Generator().manual_seed(seed)
    sampler = RandomSampler(train, True, batch_size * steps, order)
    return (
        DataLoader(train, batch_size=batch_size, sampler=sampler),
        DataLoader(dev, batch_size=batch_size),
    )
