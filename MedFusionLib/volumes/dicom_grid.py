"""Grids as DICOM images need them, and whether a grid lies where DICOM images say they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from MedFusionLib.errors import GeometryError
from MedFusionLib.volumes.volume import Volume, to_image

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

AT_ITS_PLACE = 0.05
"""A grid begins, along each axis, within this share of a voxel where its images begin."""
SQUARE = 1e-4
"""Row and column spacings that differ by less than this share count as equal."""


def right_handed(volume: Volume) -> Volume:
    """The same voxels in the same places, with slices counted along the normal of their plane."""
    directions = volume.direction_matrix
    if np.linalg.det(directions) > 0:
        return volume
    last = volume.affine_lps @ [0, 0, volume.grid_shape[0] - 1, 1]
    x, y, z = last[:3].tolist()
    turned = tuple((directions * [1, 1, -1]).ravel().tolist())
    return replace(volume, voxels=volume.voxels[::-1], origin=(x, y, z), directions=turned)


def with_square_pixels(volume: Volume) -> Volume:
    """The volume with the finer of its two spacings within the slice along rows and columns.

    The first pixel of each slice stays where it is, the finer axis and the slices as they are. The
    coarser axis is interpolated linearly, and goes on until its last pixel is covered: there the
    volume's edge is repeated. The volume itself where its pixels are square.
    """
    import SimpleITK

    columns, rows, _ = volume.spacing
    pixel = min(columns, rows)
    if abs(columns - rows) <= SQUARE * pixel:
        return volume
    size = [_covering(volume.grid_shape[2], columns, pixel)]
    size += [_covering(volume.grid_shape[1], rows, pixel), volume.grid_shape[0]]
    spacing = (pixel, pixel, volume.spacing[2])
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetReferenceImage(to_image(volume))
    resampler.SetSize(size)
    resampler.SetOutputSpacing(spacing)
    resampler.SetInterpolator(SimpleITK.sitkLinear)
    resampler.UseNearestNeighborExtrapolatorOn()
    # Left to itself, the filter cuts the fraction off integer results: 1.9 would become 1.
    resampler.SetOutputPixelType(
        SimpleITK.sitkVectorFloat32 if volume.is_colour else SimpleITK.sitkFloat32
    )
    image = resampler.Execute(to_image(volume))  # held: the view does not own what it shows
    values = SimpleITK.GetArrayViewFromImage(image)
    return replace(volume, voxels=np.rint(values).astype(volume.voxels.dtype), spacing=spacing)


def _covering(count: int, spacing: float, pixel: float) -> int:
    """So many pixels reach from the first centre of a row to its last, or just beyond."""
    return int(np.ceil((count - 1) * spacing / pixel - 1e-6)) + 1


def refuse_elsewhere(
    affine: np.ndarray, shape: Sequence[int], headers: Sequence[Dataset], whose: str
) -> None:
    """Raise ``GeometryError`` where a grid does not lie where the images it came from say.

    ``affine`` (4, 4) takes indices (i, j, k, 1) to LPS in mm, ``shape`` is (K, J, I), ``whose``
    what a user calls the volume. Along each axis of the grid one end has to meet the images' first
    pixels, and the other one may stay up to a voxel short of them, or go as far beyond: series
    with uneven gaps, or of slices that a tilted gantry shifted, lie on such grids. Headers without
    a position (multi-frame files) tell nothing.
    """
    corners = [point for header in headers for point in _corners(header)]
    if not corners:
        return
    indices = np.column_stack([corners, np.ones(len(corners))]) @ np.linalg.inv(affine).T
    ends = np.array(shape[::-1]) - 1
    begins = np.abs(indices[:, :3].min(axis=0))
    stops = np.abs(indices[:, :3].max(axis=0) - ends)
    near, far = np.minimum(begins, stops), np.maximum(begins, stops)
    if near.max() > AT_ITS_PLACE or far.max() > 1 + AT_ITS_PLACE:
        raise GeometryError(
            f"The {whose} volume does not lie where its DICOM images lie: it was moved, hardened, "
            "cropped or resampled after it was loaded. Load the series again and fuse it as it is."
        )


def _corners(header: Dataset) -> list[np.ndarray]:
    """Centres of the first and the last pixels of an image's first and last rows, LPS in mm."""
    if not all(
        header.get(keyword)
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    ):
        return []
    first = np.array(header.ImagePositionPatient, float)
    along, down = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    rows, columns = np.array(header.PixelSpacing, float)
    along, down = along * columns * (header.Columns - 1), down * rows * (header.Rows - 1)
    return [first, first + along, first + down, first + along + down]
