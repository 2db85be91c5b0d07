"""Stored voxels to what a method fuses, a batch of slices at a time, and its result back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.slices import colour as colours
from MedFusionLib.slices import intensity
from MedFusionLib.slices.stack import slice_stack
from MedFusionLib.volumes.volume import Volume

GREY_MAXIMUM = 4095
"""A scalar result is int16 from 0 to this."""
FUNCTIONAL = ("PET", "SPECT")


def brightest_channel(volume: Volume) -> Volume:
    """A colour volume's brightest channel: one window serves all three of its channels."""
    return replace(volume, voxels=volume.voxels.max(axis=3)) if volume.is_colour else volume


def choose_colour_map(other: Volume, wanted: str) -> str | None:
    """Name of the colour map, ``own`` for a colour volume, None for a grey result."""
    if wanted == "grey":
        return None
    if other.is_colour:
        return "own"
    if wanted != "auto":
        if wanted not in colours.COLOUR_MAPS:
            known = ", ".join(("auto", *colours.COLOUR_MAPS))
            raise InputError(f"There is no colour '{wanted}'. Choose one of: {known}.")
        return wanted
    return colours.FUNCTIONAL_MAP if other.modality in FUNCTIONAL else None


def empty_result(reference: Volume, colour_map: str | None) -> np.ndarray:
    """Zeros on the reference's grid: int16 for a grey result, uint8 (…, 3) for a colour one."""
    if colour_map is None:
        return np.zeros(reference.grid_shape, dtype=np.int16)
    return np.zeros((*reference.grid_shape, 3), dtype=np.uint8)


class SlicePainter:
    """Turns stored voxels of some slices into [0, 1] for a method, and its result into voxels.

    Works on a batch at a time, so that no second copy of a large volume in float is ever made.
    """

    def __init__(
        self,
        reference: Volume,
        other: Volume,
        windows: tuple[intensity.Window, intensity.Window],
        plane: str,
        colour_map: str | None,
    ) -> None:
        directions = reference.direction_matrix
        self._reference = slice_stack(reference.voxels, directions, plane)
        self._other = slice_stack(other.voxels, directions, plane)
        self._windows = windows
        self.colour_map = colour_map

    def reference_unit(self, batch: Sequence[int]) -> np.ndarray:
        """(N, H, W) float32 in [0, 1]."""
        return self._windows[0].to_unit(self._reference[_span(batch)])

    def other_unit(self, batch: Sequence[int]) -> np.ndarray:
        """(N, H, W), or (N, H, W, 3) for a volume that is shown in colour."""
        unit = self._windows[1].to_unit(self._other[_span(batch)])
        if self.colour_map is None:
            return colours.luminance(unit) if unit.ndim == 4 else unit
        return unit if self.colour_map == "own" else colours.apply_colour_map(unit, self.colour_map)

    def voxels(self, fused: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Stored values of fused slices (…, H, W) in [0, 1], with their `other_unit`."""
        if self.colour_map is None:
            return np.rint(fused * GREY_MAXIMUM).astype(np.int16)
        stored = np.zeros(other.shape, dtype=np.uint8)
        # A head fills about a third of its slices.
        lit = (fused > 0) | (other > 0).any(axis=-1)
        stored[lit] = np.rint(colours.recolour(fused[lit], other[lit]) * 255)
        return stored


def _span(batch: Sequence[int]) -> slice:
    return slice(batch[0], batch[-1] + 1)
