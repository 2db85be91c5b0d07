"""A third source for pairs of two: another modality of the same slice, or one that is made up.

Few slices of the atlas have three modalities. Where no other pair has the same MR slice, a third
source is drawn from the MR: for a pair with CT smooth uptake, as PET and SPECT have it, for a pair
with PET or SPECT a skull, as CT has it. Neither is a model of anatomy or of disease; they only
stand where such images stand, so that a network learns to show three sources at once.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from MedFusionLib.methods.weighted_bands import gaussian
from MedFusionLib.training.data import PairDataset, SlicePair

_TISSUE = 0.08
"""MR values above this belong to the head."""
_FLATTENING = 8.0
"""Pixels over which holes of the head are closed."""


class TripleDataset(PairDataset):
    """Whole slices as float tensors (1, H, W) in [0, 1]: reference, other, third."""

    def __init__(self, pairs: list[SlicePair]) -> None:
        super().__init__(pairs)
        self._same_slice: dict[bytes, list[int]] = {}
        for index, pair in enumerate(pairs):
            self._same_slice.setdefault(pair.reference.tobytes(), []).append(index)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        reference, other = super().__getitem__(index)
        place = self.third_of(index)
        if place is None:
            return reference, other, made_third(self.pairs[index].set, reference[None])[0]
        return reference, other, super().__getitem__(place)[1]

    def third_of(self, index: int) -> int | None:
        """The pair of another set that has the very same MR slice."""
        pair = self.pairs[index]
        for candidate in self._same_slice[pair.reference.tobytes()]:
            if self.pairs[candidate].set != pair.set:
                return candidate
        return None


def made_third(set_name: str, reference: Tensor) -> Tensor:
    """What the set lacks, drawn from MR slices (N, 1, H, W) in [0, 1]; other at each call."""
    return made_uptake(reference) if set_name.startswith("CT") else made_skull(reference)


def made_uptake(reference: Tensor) -> Tensor:
    """Smooth uptake of the tissue within the head, with hot and cold places."""
    inside = _eroded(_head(reference), int(torch.randint(10, 22, ())))
    preferred = 0.2 + 0.6 * torch.rand(())
    tissue = (-(((reference - preferred) / 0.25) ** 2)).exp()
    rough = gaussian(torch.randn_like(reference), 12.0)
    uneven = torch.sigmoid(2 * rough / rough.std().clamp(min=1e-6))
    uptake = gaussian(inside * (0.3 + tissue) * uneven, float(2 + 3 * torch.rand(())))
    brightest = uptake.amax((-2, -1), keepdim=True).clamp(min=1e-6)
    shown = uptake / brightest * (0.6 + 0.4 * torch.rand(()))
    return shown * (shown > 0.04)


def made_skull(reference: Tensor) -> Tensor:
    """A white ring inside the head's outline around grey, even tissue."""
    head = _head(reference)
    scalp = int(torch.randint(3, 9, ()))
    within = _eroded(head, scalp)
    inside = _eroded(within, int(torch.randint(5, 13, ())))
    tissue = 0.2 + 0.25 * torch.rand(()) + 0.1 * (reference - 0.4)
    bone = 0.85 + 0.15 * torch.rand(())
    skull = (head - within) * 0.15 + (within - inside) * bone + inside * tissue
    return gaussian(skull, 0.7).clamp(0, 1) * (head > 0)


def _head(reference: Tensor) -> Tensor:
    """1 within the outline of the head, holes closed, else 0."""
    tissue = (reference > _TISSUE).to(reference)
    return (gaussian(tissue, _FLATTENING) > 0.5).to(reference)


def _eroded(mask: Tensor, pixels: int) -> Tensor:
    return 1 - F.max_pool2d(1 - mask, 2 * pixels + 1, stride=1, padding=pixels)
