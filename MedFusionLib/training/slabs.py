"""Slices left out of thin volumes, to learn what lies between those that are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from MedFusionLib.errors import InputError
from MedFusionLib.refining.network import NEIGHBOURS
from MedFusionLib.refining.spline import spline_weights
from MedFusionLib.refining.thinning import thinning
from MedFusionLib.slices.intensity import choose_window
from MedFusionLib.volumes.files import read_volume

FACTORS = (2, 3, 4, 5, 6)
THICKEST_MM = 8.0
AVERAGED_SHARE = 0.7
"""Of the samples whose slices are as thick as their distance; the rest are thin, with gaps."""
INVERTED_SHARE = 0.3
"""Of the samples with dark and bright exchanged, as T2 is to T1."""
GAMMA = 1.4
GAIN = 1.8
"""Up to which samples are brightened and cut at white, as narrow windows do."""
NOISE_SHARE, NOISE = 0.5, 0.03
"""Of the samples, and its largest standard deviation: slices that differ by noise alone."""
LEAST_CHANGE = 0.02
"""Mean difference of the slices beside, of the full range, of a sample worth learning from."""
TRIES = 20

Slab = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Measured slices (4, H, W), interpolated and true slice (1, H, W), place and step (scalars)."""


@dataclass(frozen=True)
class Head:
    """A volume to thin: float32 in [0, 1], and its spacing in mm along K, J and I."""

    unit: np.ndarray
    spacing: tuple[float, float, float]


def read_heads(folder: Path, names: Sequence[str]) -> list[Head]:
    """The named volumes of a folder, in their windows; ``InputError`` for one that is missing."""
    if not names:
        raise InputError("No volume was named. Give --volume and --dev-volume once for each.")
    heads = []
    for name in names:
        volume = read_volume(folder / name)
        i, j, k = volume.spacing
        heads.append(Head(choose_window(volume).to_unit(volume.voxels), (k, j, i)))
    return heads


_thinning = lru_cache(maxsize=256)(thinning)


class SlabDataset(Dataset[Slab]):
    """Random slabs; the index is the seed of what is drawn."""

    def __init__(self, heads: Sequence[Head], crop: int, augmented: bool) -> None:
        self.heads = heads
        self.crop = crop
        self.augmented = augmented

    def __len__(self) -> int:
        return 2**31 - 1

    def __getitem__(self, index: int) -> Slab:
        generator = np.random.default_rng(index)
        for _ in range(TRIES):
            slab = self._drawn(generator)
            if (slab[0][1] - slab[0][2]).abs().mean() > LEAST_CHANGE:
                break
        return slab

    def _drawn(self, generator: np.random.Generator) -> Slab:
        head = self.heads[int(generator.integers(len(self.heads)))]
        axis, factor = self._thinned_axis(head, generator)
        column = self._column(head, axis, generator)
        first = int(generator.integers(factor))
        column = column[first:]
        coarse_of = _thinning(len(column), factor, generator.random() < AVERAGED_SHARE)
        coarse = np.tensordot(coarse_of, column, axes=1)
        gap = int(generator.integers(len(coarse) - 1))
        between = int(generator.integers(1, factor))
        fine = gap * factor + between
        row = spline_weights(len(coarse), factor, (len(coarse) - 1) * factor + 1)[fine]
        smooth = np.tensordot(row.astype(np.float32), coarse, axes=1)
        near = np.clip(gap + np.array(NEIGHBOURS), 0, len(coarse) - 1)
        pixel = np.delete(np.array(head.spacing), axis).mean()
        return (
            torch.from_numpy(coarse[near]),
            torch.from_numpy(smooth[np.newaxis]),
            torch.from_numpy(np.ascontiguousarray(column[fine : fine + 1])),
            torch.tensor(between / factor, dtype=torch.float32),
            torch.tensor(factor * head.spacing[axis] / pixel, dtype=torch.float32),
        )

    def _thinned_axis(self, head: Head, generator: np.random.Generator) -> tuple[int, int]:
        """An axis whose slices have square pixels, and how many slices become one."""
        steps = np.array(head.spacing)
        fit = [a for a in range(3) if np.ptp(np.delete(steps, a)) < 0.1 * steps.min()]
        axis = int(generator.choice(fit))
        allowed = [f for f in FACTORS if f * steps[axis] <= THICKEST_MM]
        return axis, int(generator.choice(allowed or FACTORS[:1]))

    def _column(self, head: Head, axis: int, generator: np.random.Generator) -> np.ndarray:
        """A square column through the volume, (N, crop, crop), turned and in other contrast."""
        stack = np.moveaxis(head.unit, axis, 0)
        corner = [int(generator.integers(max(1, n - self.crop + 1))) for n in stack.shape[1:]]
        column = stack[:, corner[0] : corner[0] + self.crop, corner[1] : corner[1] + self.crop]
        missing = [self.crop - n for n in column.shape[1:]]
        if any(missing):
            column = np.pad(column, ((0, 0), (0, missing[0]), (0, missing[1])), mode="edge")
        return self._changed(column, generator) if self.augmented else column

    def _changed(self, column: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        for axis in range(3):
            if generator.random() < 0.5:
                column = np.flip(column, axis)
        if generator.random() < 0.5:
            column = column.transpose(0, 2, 1)
        column = column ** np.float32(GAMMA ** generator.uniform(-1, 1))
        column = np.minimum(column * np.float32(GAIN ** generator.random()), 1)
        if generator.random() < INVERTED_SHARE:
            column = (1 - column) * np.clip(column / 0.05, 0, 1)  # air stays black
        if generator.random() < NOISE_SHARE:
            noise = generator.normal(0, generator.uniform(0, NOISE), column.shape)
            column = np.clip(column + noise * (column > 0), 0, 1)
        return np.ascontiguousarray(column, np.float32)


def slab_loader(heads: Sequence[Head], crop: int, batch: int, steps: int, seed: int) -> DataLoader:
    """``steps`` batches of new slabs in every epoch."""
    dataset = SlabDataset(heads, crop, augmented=True)
    generator = torch.Generator().manual_seed(seed)
    drawn = RandomSampler(dataset, True, batch * steps, generator)
    return DataLoader(dataset, batch_size=batch, sampler=drawn)


def fixed_slabs(heads: Sequence[Head], crop: int, batch: int, count: int) -> DataLoader:
    """The same ``count`` slabs in every epoch."""
    dataset = SlabDataset(heads, crop, augmented=False)
    return DataLoader(dataset, batch_size=batch, sampler=range(count))
