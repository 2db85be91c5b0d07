"""Pictures of what a fused volume hides: its slices with the hidden places marked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from MedFusionLib.hidden import HIDDEN_PERCENT, Hidden
from MedFusionLib.refining.invented import DRAWN, DRAWN_PERCENT, Invented
from MedFusionLib.registration.pictures import isotropic
from MedFusionLib.slices.colour import luminance
from MedFusionLib.slices.painting import GREY_MAXIMUM
from MedFusionLib.slices.stack import PLANES, slice_stack
from MedFusionLib.volumes.volume import Volume

OTHER_COLOUR, REFERENCE_COLOUR = (255, 140, 0), (0, 110, 255)
BOTH_COLOUR = (200, 0, 200)
STRENGTH = 0.6
"""Of a mark over the slice beneath it."""
BETWEEN_COLOUR, DRAWN_COLOUR = (0, 170, 90), (220, 0, 60)
BETWEEN_STRENGTH = 0.4
"""Of the mark midway between measured slices."""


def hidden_pictures(fused: Volume, hidden: Hidden) -> dict[str, np.ndarray]:
    """For each plane a fused slice with and without marks, uint8 (H, W, 3), pixels square.

    The slice is the one on which the most is hidden. Names are like ``axial-fused`` and
    ``axial-hidden``. Orange marks what is hidden of any other volume, blue of the reference,
    violet of both: places where more than 80 % of the local contrast is gone.
    """
    of_others = np.maximum.reduce([volume.voxels for volume in hidden.of_sources[1:]])
    shown, of_reference, of_other = (
        isotropic(volume)
        for volume in (
            _eight_bits(fused),
            hidden.of_reference,
            replace(hidden.of_other, voxels=of_others),
        )
    )
    pictures: dict[str, np.ndarray] = {}
    for plane in PLANES:
        slices, one, two = (
            slice_stack(volume.voxels, volume.direction_matrix, plane)
            for volume in (shown, of_reference, of_other)
        )
        marks = one > HIDDEN_PERCENT, two > HIDDEN_PERCENT
        place = int((marks[0] | marks[1]).sum(axis=(1, 2)).argmax())
        pictures[f"{plane}-fused"] = _colour(slices[place])
        pictures[f"{plane}-hidden"] = _marked(slices[place], marks[0][place], marks[1][place])
    return pictures


def invented_pictures(fused: Volume, invented: Invented) -> dict[str, np.ndarray]:
    """For each plane the fused slice on which the network drew the most, or the middle one.

    Named like ``coronal-invented``, uint8 (H, W, 3), pixels square. Green grows with the distance
    from the measured slices; red marks where the network drew more than 2 % of the window.
    """
    in_head = replace(invented.volume, voxels=invented.volume.voxels * invented.head)
    shown, marks = isotropic(_eight_bits(fused)), isotropic(in_head)
    pictures: dict[str, np.ndarray] = {}
    for plane in PLANES:
        slices, percent = (
            slice_stack(volume.voxels, volume.direction_matrix, plane) for volume in (shown, marks)
        )
        drawn = percent > DRAWN + DRAWN_PERCENT
        place = int(drawn.sum(axis=(1, 2)).argmax()) if drawn.any() else len(slices) // 2
        light = luminance(slices[place]) if slices.ndim == 4 else slices[place]
        share = BETWEEN_STRENGTH / DRAWN * np.minimum(percent[place], DRAWN)[..., np.newaxis]
        picture = _colour(light) * (1 - share) + share * np.array(BETWEEN_COLOUR)
        picture[drawn[place]] += STRENGTH * (DRAWN_COLOUR - picture[drawn[place]])
        pictures[f"{plane}-invented"] = np.rint(picture).astype(np.uint8)
    return pictures


def _eight_bits(fused: Volume) -> Volume:
    if fused.is_colour:
        return fused
    grey = np.clip(fused.voxels, 0, GREY_MAXIMUM) * np.float32(255 / GREY_MAXIMUM)
    return replace(fused, voxels=np.rint(grey).astype(np.uint8))


def _colour(picture: np.ndarray) -> np.ndarray:
    if picture.ndim == 3:
        return np.ascontiguousarray(picture)
    return np.repeat(picture[:, :, np.newaxis], 3, axis=2)


def _marked(picture: np.ndarray, reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    # Over the luminance: a mark over the colours of a PET would look like uptake.
    light = luminance(picture) if picture.ndim == 3 else picture
    marked = _colour(light).astype(np.float32)
    for place, colour in (
        (other & ~reference, OTHER_COLOUR),
        (reference & ~other, REFERENCE_COLOUR),
        (reference & other, BOTH_COLOUR),
    ):
        marked[place] += STRENGTH * (np.array(colour, np.float32) - marked[place])
    return np.rint(marked).astype(np.uint8)
