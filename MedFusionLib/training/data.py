"""Slice pairs of the Whole Brain Atlas for training, split by patient.

``manifest.csv`` of the data folder names every pair's set, patient and split. All pairs of a
split are kept in memory as 8-bit images: 468 training pairs take 61 MB.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from MedFusionLib.errors import InputError
from MedFusionLib.tables import read_rows

COLUMNS = ("pair_id", "set", "patient", "split", "mri", "other")
SPLITS = ("train", "dev")


@dataclass(frozen=True)
class SlicePair:
    """One MR slice and the CT, PET or SPECT slice that lies on it."""

    pair_id: str
    set: str
    patient: str
    reference: np.ndarray
    """MR, uint8 (H, W)."""
    other: np.ndarray
    """CT or luminance of PET or SPECT, uint8 (H, W)."""


def read_pairs(folder: Path, split: str, sets: tuple[str, ...] = ()) -> list[SlicePair]:
    """All pairs of a split, in the manifest's order; ``sets`` empty means all sets.

    Raises ``InputError`` if the manifest is missing or has no such pairs.
    """
    table = read_manifest(folder)
    chosen = table[table["split"] == split]
    if sets:
        chosen = chosen[chosen["set"].isin(sets)]
    if chosen.empty:
        raise InputError(f"{folder} holds no '{split}' pairs of {', '.join(sets) or 'any set'}.")
    return [
        SlicePair(
            str(row["pair_id"]),
            str(row["set"]),
            str(row["patient"]),
            read_luminance(folder / str(row["mri"])),
            read_luminance(folder / str(row["other"])),
        )
        for _, row in chosen.iterrows()
    ]


def read_manifest(folder: Path) -> pd.DataFrame:
    """The manifest's table, all columns as text, after a check that the needed ones exist."""
    path = folder / "manifest.csv"
    if not path.is_file():
        raise InputError(f"{folder} has no manifest.csv. Give the folder that holds the pairs.")
    return pd.DataFrame(read_rows(path, COLUMNS), dtype=str)


def read_luminance(path: Path) -> np.ndarray:
    """Grey image, or Y of a colour image (ITU-R BT.601, full range), uint8 (H, W)."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except OSError as error:
        raise InputError(f"'{path}' cannot be read as an image. Is it there, and whole?") from error


class PairDataset(Dataset[tuple[Tensor, ...]]):
    """Whole slices as float tensors (1, H, W) in [0, 1]: reference, other."""

    def __init__(self, pairs: list[SlicePair]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        pair = self.pairs[index]
        return _to_unit(pair.reference), _to_unit(pair.other)


def _to_unit(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.astype(np.float32) / 255).unsqueeze(0)


def training_loader(
    dataset: PairDataset, batch_size: int, steps: int, seed: int
) -> DataLoader[tuple[Tensor, ...]]:
    """``steps`` batches, in which every set is drawn as often as the others."""
    generator = torch.Generator().manual_seed(seed)
    sampler = WeightedRandomSampler(
        balanced_weights(dataset.pairs), num_samples=batch_size * steps, generator=generator
    )
    return DataLoader(dataset, batch_size=batch_size, sampler=sampler)


def balanced_weights(pairs: list[SlicePair]) -> list[float]:
    """Probability weights that make the sets equal, and within a set its patients.

    One PET patient alone has 187 of the 468 training slices.
    """
    in_patient = Counter((pair.set, pair.patient) for pair in pairs)
    patients = Counter(name for name, _ in in_patient)
    return [1 / (in_patient[pair.set, pair.patient] * patients[pair.set]) for pair in pairs]


def validation_loader(dataset: PairDataset, batch_size: int) -> DataLoader[tuple[Tensor, ...]]:
    """Every pair once, in order."""
    return DataLoader(dataset, batch_size=batch_size)
