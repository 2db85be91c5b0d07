"""How much of a lesion's contrast the fused picture shows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from MedFusionLib.evaluation.legibility.lesions import Lesion

LOST, INVERTED = 0.2, -0.05
"""A transfer below these is a lesion that is lost, or shown with the opposite sign."""
MISSED = 5.0
"""A colour difference (CIEDE2000) below this a reader will miss."""
CENTRE = 2
"""The colour is compared over the pixels within this many of the centre: 5×5."""


@dataclass(frozen=True)
class ColourTransfer:
    """Colour differences at a lesion's centre, CIEDE2000."""

    shown: float
    """Between the fused pictures with and without the lesion."""
    source: float
    """Between the source's own pictures with and without it."""

    @property
    def share(self) -> float:
        """1: the lesion stands out as it does in its own source; nan where it does not there."""
        return self.shown / self.source if self.source else math.nan

    @property
    def missed(self) -> float:
        """1 if a reader will miss it here, and would not in its own source; else 0.

        Nan where it could not be seen in its own source either.
        """
        return float(self.shown < MISSED) if self.source >= MISSED else math.nan


def grey_transfer(
    fused: tuple[np.ndarray, np.ndarray], source: tuple[np.ndarray, np.ndarray], weight: np.ndarray
) -> float:
    """Σ w·(F₁ - F₀) / Σ w·(S₁ - S₀), the pictures without and with the lesion, w its profile.

    1: shown with its full contrast; 0: not at all; negative: inverted. What was really inserted
    counts, after the source was kept to its range. Nan where that is nothing.
    """
    inserted = float((weight * (source[1] - source[0])).sum(dtype=np.float64))
    shown = float((weight * (fused[1] - fused[0])).sum(dtype=np.float64))
    return shown / inserted if inserted else math.nan


def grey_transfers(
    fused: tuple[np.ndarray, np.ndarray],
    source: tuple[np.ndarray, np.ndarray],
    lesions: Sequence[Lesion],
) -> Iterator[float]:
    """The transfer of each lesion; pictures (H, W), each without and with all lesions."""
    for lesion in lesions:
        box = lesion.box()
        yield grey_transfer(
            (fused[0][box], fused[1][box]), (source[0][box], source[1][box]), lesion.profile()
        )


def colour_transfers(
    fused: tuple[np.ndarray, np.ndarray],
    source: tuple[np.ndarray, np.ndarray],
    lesions: Sequence[Lesion],
) -> list[ColourTransfer]:
    """The same for colours; pictures RGB (H, W, 3) in [0, 1]."""
    centres = [_centre(lesion) for lesion in lesions]
    shown, own = (
        colour_differences(
            np.stack([pictures[0][centre] for centre in centres]),
            np.stack([pictures[1][centre] for centre in centres]),
        ).mean(axis=(1, 2))
        for pictures in (fused, source)
    )
    return [ColourTransfer(float(one), float(two)) for one, two in zip(shown, own, strict=True)]


def colour_differences(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """CIEDE2000 (…) between RGB (…, 3) in [0, 1], taken as sRGB under D65."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    return deltaE_ciede2000(rgb2lab(one), rgb2lab(two))


def _centre(lesion: Lesion) -> tuple[slice, slice]:
    return (
        slice(lesion.row - CENTRE, lesion.row + CENTRE + 1),
        slice(lesion.column - CENTRE, lesion.column + CENTRE + 1),
    )
