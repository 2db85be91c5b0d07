"""What of a volume on a finer grid was not measured: how far each voxel lies between the slices,
and what the network drew there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from MedFusionLib.refining.drawing import ON_A_SLICE
from MedFusionLib.refining.grids import FinerGrid
from MedFusionLib.slices.intensity import Window
from MedFusionLib.volumes.volume import Volume

DRAWN = 100
"""Values above this say that the network drew."""
DRAWN_PERCENT = 2
"""Of the window, above which a voxel counts as drawn in the figures and the sentence."""
HEAD_LEVEL = 0.05
"""The head is where the reference is above this share of its window."""
UNITS = (
    "per cent of half the distance of the slices to the nearest measured one; above 100: 100 and "
    "what the network drew, in per cent of the window"
)


@dataclass(frozen=True)
class Invented:
    """The map of what is invented, and its figures.

    ``volume`` is uint8 on the finer grid. 0 lies on measured voxels, 100 midway between the two
    measured slices that are farthest apart; from 101 to 200 the network drew, 1 to 100 % of the
    window.
    """

    volume: Volume
    head: np.ndarray
    """Bool, (K, J, I)."""
    slice_mm: float
    """The largest distance of measured voxels' centres along an axis."""
    mean_mm: float
    """Mean distance of the head's voxels to measured ones (along the axis where it is largest)."""
    by_network: bool

    @cached_property
    def between_share(self) -> float:
        """Share of the head's voxels that do not lie on measured ones."""
        return self._share(self.volume.voxels > 0)

    @cached_property
    def drawn_share(self) -> float:
        """Share of the head's voxels at which the network drew more than ``DRAWN_PERCENT``."""
        return self._share(self.volume.voxels > DRAWN + DRAWN_PERCENT)

    @cached_property
    def most_drawn(self) -> int:
        """Per cent of the window that the network drew at most."""
        return max(0, int(self.volume.voxels.max()) - DRAWN)

    @property
    def sentence(self) -> str:
        """The shares in words."""
        told = (
            f"{100 * self.between_share:.0f} % of the reference's head on the finer grid were not "
            f"measured but interpolated, on average {self.mean_mm:.1f} mm from slices "
            f"{self.slice_mm:.4g} mm apart"
        )
        if not self.by_network:
            return told + "."
        return (
            f"{told}; at {100 * self.drawn_share:.0f} % the network drew more than "
            f"{DRAWN_PERCENT} % of the window ({self.most_drawn} % at most)."
        )

    @property
    def figures(self) -> dict[str, Any]:
        """Plain JSON values for a report, and the sentence."""
        return {
            "between_share": self.between_share,
            "slice_mm": self.slice_mm,
            "mean_mm": self.mean_mm,
            "drawn_share": self.drawn_share,
            "most_drawn_percent": self.most_drawn,
            "sentence": self.sentence,
        }

    def _share(self, where: np.ndarray) -> float:
        return float(where[self.head].mean()) if self.head.any() else 0.0


def invented(
    reference: Volume, grid: FinerGrid, window: Window, drawn: np.ndarray | None = None
) -> Invented:
    """Map and figures of a reference on a finer grid.

    ``drawn`` is what the network added to the interpolation, in stored values; None for none.
    """
    away = between(grid)
    percent = np.rint(100 * away).astype(np.uint8)
    head = window.to_unit(reference.voxels) > HEAD_LEVEL
    slice_mm = float(max(grid.measured_spacing))
    if drawn is not None:
        of_window = np.abs(drawn) * np.float32(100 / (window.high - window.low))
        share = np.minimum(np.rint(of_window), 100).astype(np.uint8)
        percent = np.where(share > 0, DRAWN + share, percent)
    return Invented(
        replace(reference, voxels=percent, metadata={"units": UNITS}),
        head,
        slice_mm,
        float(away[head].mean()) * slice_mm / 2 if head.any() else 0.0,
        drawn is not None,
    )


def between(grid: FinerGrid) -> np.ndarray:
    """(K, J, I) from 0 to 1: how far each voxel lies from measured ones.

    Of the distances along the three axes the largest counts, in mm, over half the largest step of
    the measured grid.
    """
    farthest = np.zeros(grid.shape, np.float32)
    largest: float = max(grid.measured_spacing)
    for axis in range(3):
        places = grid.places(axis)
        away = np.abs(places - np.rint(places))
        away[away < ON_A_SLICE] = 0
        share = away * (2 * grid.measured_spacing[2 - axis] / largest)
        shape = [-1 if one == axis else 1 for one in range(3)]
        np.maximum(farthest, share.reshape(shape), out=farthest)
    return farthest
