"""Stored voxels to what a method fuses, a batch of slices at a time, and its result back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.slices import colour as colours
from MedFusionLib.slices import intensity
from MedFusionLib.slices.legend import described_others
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


def choose_colour_maps(others: Sequence[Volume], wanted: Sequence[str]) -> list[str | None]:
    """`choose_colour_map` of each of several volumes that are shown in one picture.

    One of them may be in colour, in any map; two are in the maps `colour.TOLD_APART`, the first of
    them in red if both are ``auto``. Raises ``InputError`` where the colours of two could not be
    told apart, and for three.
    """
    chosen = [choose_colour_map(other, one) for other, one in zip(others, wanted, strict=True)]
    coloured = [place for place, colour_map in enumerate(chosen) if colour_map is not None]
    if len(coloured) < 2:
        return chosen
    given = {chosen[place] for place in coloured if wanted[place] != "auto"}
    left = [name for name in colours.TOLD_APART if name not in given]
    for place in coloured:
        if wanted[place] == "auto" and chosen[place] != "own" and left:
            chosen[place] = left.pop(0)
    if len(coloured) > 2 or {chosen[place] for place in coloured} != set(colours.TOLD_APART):
        raise InputError(
            f"{len(coloured)} volumes would be shown in colour, and their colours could not be "
            "told apart. Two can be, one in red and one in blue: leave their colours at auto, or "
            "show all but one in grey."
        )
    return chosen


def empty_result(reference: Volume, in_colour: bool) -> np.ndarray:
    """Zeros on the reference's grid: int16 for a grey result, uint8 (…, 3) for a colour one."""
    if not in_colour:
        return np.zeros(reference.grid_shape, dtype=np.int16)
    return np.zeros((*reference.grid_shape, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Layer:
    """A volume as it is shown: in a window and, unless it is grey, in colours."""

    volume: Volume
    window: intensity.Window
    colour_map: str | None = None
    """One of `colour.COLOUR_MAPS`, ``own`` for a colour volume, None for grey."""

    def unit(self, voxels: np.ndarray) -> np.ndarray:
        """Stored voxels (…) of the volume in [0, 1], or (…, 3) where it is shown in colour."""
        unit = self.window.to_unit(voxels)
        if self.colour_map is None:
            return colours.light_of(unit)
        return unit if self.colour_map == "own" else colours.apply_colour_map(unit, self.colour_map)


def layers_of(others: Sequence[Volume], report: Mapping[str, Any]) -> list[Layer]:
    """The other volumes of a fusion as its report (`FusionResult.report`) says they were shown."""
    told = described_others(report)
    return [
        Layer(
            volume,
            intensity.Window(**one["window"]),
            None if one["colour"] == "grey" else one["colour"],
        )
        for volume, one in zip(others, told, strict=True)
    ]


class SlicePainter:
    """Turns stored voxels of some slices into [0, 1] for a method, and its result into voxels.

    The layers lie on one grid. Works on a batch at a time, so that no second copy of a large volume
    in float is ever made.
    """

    def __init__(self, reference: Layer, others: Sequence[Layer], plane: str) -> None:
        directions = reference.volume.direction_matrix
        self._reference, self._others = reference, tuple(others)
        self._stacks = [
            slice_stack(layer.volume.voxels, directions, plane) for layer in (reference, *others)
        ]
        self.in_colour = any(layer.colour_map is not None for layer in others)

    def reference_unit(self, batch: Sequence[int]) -> np.ndarray:
        """(N, H, W) float32 in [0, 1]."""
        return self._reference.unit(self._stacks[0][_span(batch)])

    def other_units(self, batch: Sequence[int]) -> list[np.ndarray]:
        """Of each other volume (N, H, W), or (N, H, W, 3) where it is shown in colour."""
        return [
            layer.unit(stack[_span(batch)])
            for layer, stack in zip(self._others, self._stacks[1:], strict=True)
        ]

    def voxels(self, fused: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
        """Stored values of fused slices (…, H, W) in [0, 1], with their `other_units`."""
        if not self.in_colour:
            return np.rint(fused * GREY_MAXIMUM).astype(np.int16)
        shown = colours.mixed([other for other in others if other.ndim == fused.ndim + 1])
        stored = np.zeros(shown.shape, dtype=np.uint8)
        # A head fills about a third of its slices.
        lit = (fused > 0) | (shown > 0).any(axis=-1)
        stored[lit] = np.rint(colours.recolour(fused[lit], shown[lit]) * 255)
        return stored


def _span(batch: Sequence[int]) -> slice:
    return slice(batch[0], batch[-1] + 1)
