"""Pictures in which the eye sees at once whether two volumes lie on each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK

from MedFusionLib.errors import InputError
from MedFusionLib.outputs import refuse_unwritable_folder
from MedFusionLib.registration.images import CLIPPED_PERCENT
from MedFusionLib.registration.overlap import resample
from MedFusionLib.slices.colour import luminance
from MedFusionLib.slices.intensity import head_voxels
from MedFusionLib.slices.stack import PLANES, slice_stack
from MedFusionLib.volumes.hushed import hushed
from MedFusionLib.volumes.volume import Volume

LONGEST_SIDE = 320
DRAWN_SIDE = 512
MOST_ENLARGED = 4.0
"""Pixels of small volumes are drawn up to this many times finer than their voxels."""
SQUARES = 8
EDGE_COLOUR = (255, 220, 0)
EDGE_SHARE = 12.0
"""Per cent of the pixels that are drawn as edges."""
WHITE_MEDIANS = 1.6
CT_PICTURE = (-150.0, 350.0)
"""Skin, brain and the skull's edge, in Hounsfield units."""


def quality_pictures(reference: Volume, resampled: Volume) -> dict[str, np.ndarray]:
    """Checkerboards and edge overlays through the middle of the reference, in three planes.

    ``resampled`` is the other volume on the reference's grid. Names are like
    ``axial-checkerboard`` (H, W) and ``axial-edges`` (H, W, 3); values uint8, pixels square.
    In an edge overlay the reference's edges lie, in yellow, on the other volume.
    """
    one, two = (_bright(_enlarged(volume)) for volume in (reference, resampled))
    pictures: dict[str, np.ndarray] = {}
    for plane in PLANES:
        first, second = (_middle_slice(volume, plane) for volume in (one, two))
        pictures[f"{plane}-checkerboard"] = _checkerboard(first, second)
        pictures[f"{plane}-edges"] = _edges_on(first, second)
    return pictures


def write_pictures(pictures: Mapping[str, np.ndarray], folder: Path) -> list[Path]:
    """Write each picture as PNG into an existing folder, and see that it reads back.

    Returns the files. Raises ``InputError`` where one cannot be written.
    """
    refuse_unwritable_folder(folder)
    files = []
    for name, pixels in pictures.items():
        file = folder / f"{name}.png"
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(pixels), isVector=pixels.ndim == 3)
        try:
            with hushed():
                SimpleITK.WriteImage(image, str(file))
                again = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))
        except RuntimeError as error:
            raise InputError(f"The picture '{file.name}' could not be written.") from error
        if not np.array_equal(again, pixels):
            raise InputError(f"The picture '{file.name}' could not be written: is the disk full?")
        files.append(file)
    return files


def _middle_slice(volume: Volume, plane: str) -> np.ndarray:
    stack = slice_stack(volume.voxels, volume.direction_matrix, plane)
    return stack[len(stack) // 2]


def isotropic(volume: Volume) -> Volume:
    """On a grid of the same place and directions with voxels of one width."""
    extent = np.array(volume.grid_shape[::-1]) * volume.spacing
    width = max(float(min(volume.spacing)), float(extent.max()) / LONGEST_SIDE)
    size = np.maximum(2, np.ceil(extent / width)).astype(int)
    empty = np.broadcast_to(np.uint8(0), tuple(size[::-1].tolist()))
    grid = Volume(empty, (width, width, width), volume.origin, volume.directions)
    return resample(volume, grid)


def _enlarged(volume: Volume) -> Volume:
    """Over the same box, on voxels of one width that make a picture of a good size."""
    extent = np.array(volume.grid_shape[::-1]) * volume.spacing
    width = max(float(min(volume.spacing)) / MOST_ENLARGED, float(extent.max()) / DRAWN_SIDE)
    size = np.maximum(2, np.ceil(extent / width)).astype(int)
    empty = np.broadcast_to(np.uint8(0), tuple(size[::-1].tolist()))
    first = volume.affine_lps @ [*((width / np.array(volume.spacing) - 1) / 2), 1.0]
    origin = tuple(first[:3].tolist())
    return resample(volume, Volume(empty, (width, width, width), origin, volume.directions))


def _bright(volume: Volume) -> Volume:
    """Grey values from 0 to 255 through the volume's own window."""
    voxels = volume.voxels.astype(np.float32)
    grey = replace(volume, voxels=np.nan_to_num(luminance(voxels) if volume.is_colour else voxels))
    low, high = _window(grey)
    unit = ((grey.voxels - low) / max(high - low, 1e-9)).clip(0, 1)
    return replace(grey, voxels=np.rint(255 * unit).astype(np.uint8))


def _window(volume: Volume) -> tuple[float, float]:
    """Values drawn black and white: from air to well above what most of the head shows, so that a
    bright rim of fat leaves grey values to the brain; for CT in Hounsfield units always the same.
    """
    if volume.modality == "CT" and volume.voxels.min() < CT_PICTURE[0]:
        return CT_PICTURE
    low = float(np.percentile(volume.voxels, CLIPPED_PERCENT))
    head = head_voxels(volume)
    high = low + min(
        WHITE_MEDIANS * (float(np.median(head)) - low),
        float(np.percentile(head, 100 - CLIPPED_PERCENT)) - low,
    )
    return (low, high) if high > low else (low, float(volume.voxels.max()))


def _checkerboard(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(first.shape)
    side = max(1, max(first.shape) // SQUARES)
    return np.where((rows // side + columns // side) % 2 == 0, first, second)


def _slopes(pixels: np.ndarray) -> np.ndarray:
    """Steepness of a smoothed picture; the filter needs four pixels along each side."""
    rows, columns = pixels.shape
    grown = np.pad(pixels, ((0, max(0, 4 - rows)), (0, max(0, 4 - columns))), mode="edge")
    image = SimpleITK.GetImageFromArray(grown)
    slopes = SimpleITK.GradientMagnitudeRecursiveGaussian(image, 1.5)
    return SimpleITK.GetArrayFromImage(slopes)[:rows, :columns]


def _edges_on(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    slopes = _slopes(first.astype(np.float32))
    picture = np.repeat(second[:, :, np.newaxis], 3, axis=2)
    picture[slopes > max(1.0, np.percentile(slopes, 100 - EDGE_SHARE))] = EDGE_COLOUR
    return picture
