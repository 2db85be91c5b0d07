"""Where the other source shows what it is made for: bone in a CT, hot places in PET and SPECT."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from MedFusionLib.training.data import PairDataset, SlicePair

BRIGHTEST_OF_CT = 0.02
"""Share of a CT slice that counts as bone: 8-bit slices have no Hounsfield units."""
HOTTEST = 0.1
"""Share of a PET or SPECT slice's pixels above black that counts as hot."""


def target_region(pair: SlicePair) -> np.ndarray:
    """True where the other source shows its target, (H, W); nowhere in an empty slice.

    Values as bright as the darkest of the share belong to it too: in a CT that is cut at white, all
    of the white bone.
    """
    shown = pair.other[pair.other > 0]
    if not shown.size:
        return np.zeros(pair.other.shape, dtype=bool)
    if pair.set.startswith("CT"):
        lowest = np.quantile(pair.other, 1 - BRIGHTEST_OF_CT)
    else:
        lowest = np.quantile(shown, 1 - HOTTEST)
    return (pair.other >= lowest) & (pair.other > 0)


class TargetPairDataset(PairDataset):
    """Whole slices as float tensors (1, H, W): reference, other, and 1 in the target region."""

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        region = torch.from_numpy(target_region(self.pairs[index])).float().unsqueeze(0)
        return *super().__getitem__(index), region
