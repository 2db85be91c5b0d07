"""What registration looks at: scalar images on coarser grids, the head, and its surface.

Everything is in millimetres of LPS space, so voxels may have any size and the grid may be oblique.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import SimpleITK

from MedFusionLib.errors import InputError
from MedFusionLib.registration.transforms import matrix_of
from MedFusionLib.slices.colour import luminance
from MedFusionLib.volumes.volume import Volume, to_image

MASK_VOXEL_MM = 4.0
SKIN_MM = 10.0
AIR_MM = 40.0
CLIPPED_PERCENT = 0.5
HOUNSFIELD_SOFT_TO_BONE = (-200.0, 1500.0)
SMALLEST_HEAD_LITRES = 0.05
SURFACE_POINTS = 300
FEWEST_VOXELS = 4
"""Along each axis, for the recursive filters that smooth an image."""


@dataclass(frozen=True)
class Head:
    """A volume as registration sees it.

    ``image``: float32 scalar image without extreme values. ``mask``: uint8, 1 in the head, on a
    grid of about 4 mm. ``centre``: the head's centre of mass (LPS, mm).
    """

    image: SimpleITK.Image
    mask: SimpleITK.Image
    centre: tuple[float, float, float]
    _levels: dict[float, SimpleITK.Image] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def level(self, voxel_mm: float) -> SimpleITK.Image:
        """The image on voxels of about ``voxel_mm``; made once and kept."""
        if voxel_mm not in self._levels:
            self._levels[voxel_mm] = shrink(self.image, voxel_mm)
        return self._levels[voxel_mm]

    def in_air(self, voxel_mm: float) -> SimpleITK.Image:
        """The level with 40 mm of its darkest value around it.

        Samples that fall outside an image are left out by ITK, and a climb then drifts to where
        the fewest are left that disagree: it cuts the head off. In air they count as dark.
        """
        image = self.level(voxel_mm)
        width = [round(AIR_MM / step) for step in image.GetSpacing()]
        darkest = float(SimpleITK.GetArrayViewFromImage(image).min())
        return SimpleITK.ConstantPad(image, width, width, darkest)

    def on_grid_moved_by(self, motion: np.ndarray, centre: tuple[float, float, float]) -> Head:
        """The head where ``motion``, a (4, 4) isometry, takes it; its kept levels go along."""
        there = Head(_on_moved_grid(self.image, motion), _on_moved_grid(self.mask, motion), centre)
        for voxel_mm, level in list(self._levels.items()):
            there._levels[voxel_mm] = _on_moved_grid(level, motion)
        return there

    @cached_property
    def skin(self) -> SimpleITK.Image:
        """The head and 10 mm of air around it: the outline carries information too."""
        radius = [max(1, round(SKIN_MM / step)) for step in self.mask.GetSpacing()]
        return SimpleITK.BinaryDilate(self.mask, radius)


def see_head(volume: Volume, role: str) -> Head:
    """The volume's image, head mask and centre.

    Raises ``InputError`` where there is nothing to register: a constant volume, no finite value,
    fewer than 4 voxels along an axis, or no connected object of 0.05 litres.
    """
    if min(volume.grid_shape) < FEWEST_VOXELS:
        size = "×".join(str(length) for length in volume.grid_shape)
        raise InputError(
            f"The {role} volume has too few voxels to be aligned ({size}). Lay it by its position "
            "(--alignment resample) or by a transform."
        )
    image = _scalar_image(volume, role)
    mask = head_mask(image)
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.Execute(mask)
    if not shape.HasLabel(1) or shape.GetPhysicalSize(1) < SMALLEST_HEAD_LITRES * 1e6:
        raise InputError(
            f"No head can be told from the background in the {role} volume, so there is nothing "
            "to align. Choose a volume that shows more of the head."
        )
    return Head(image, mask, shape.GetCentroid(1))


def _scalar_image(volume: Volume, role: str) -> SimpleITK.Image:
    voxels = volume.voxels.astype(np.float32)
    if volume.is_colour:
        voxels = luminance(voxels)
    finite = voxels[np.isfinite(voxels)]
    if finite.size == 0 or finite.min() == finite.max():
        raise InputError(
            f"The {role} volume holds one value only, so there is nothing to align. "
            "Choose another volume."
        )
    low, high = _range(finite, volume.modality)
    voxels = np.nan_to_num(voxels, nan=low, posinf=high, neginf=low).clip(low, high)
    return to_image(replace(volume, voxels=voxels))


def _range(values: np.ndarray, modality: str) -> tuple[float, float]:
    """Values outside are clipped: a few extremes must not use up the histogram's bins."""
    thinned = values[:: max(1, values.size // 1_000_000)]
    low, high = np.percentile(thinned, [CLIPPED_PERCENT, 100 - CLIPPED_PERCENT])
    if modality == "CT" and values.min() < 2 * HOUNSFIELD_SOFT_TO_BONE[0]:
        low, high = HOUNSFIELD_SOFT_TO_BONE
    return (float(low), float(high)) if low < high else (float(values.min()), float(values.max()))


def shrink(image: SimpleITK.Image, voxel_mm: float) -> SimpleITK.Image:
    """Average voxels until they are about ``voxel_mm`` wide; thick slices stay as they are."""
    factors = [
        max(1, min(length // 4, round(voxel_mm / step)))
        for step, length in zip(image.GetSpacing(), image.GetSize(), strict=True)
    ]
    return SimpleITK.BinShrink(image, factors)


def on_grid(mask: SimpleITK.Image, image: SimpleITK.Image) -> SimpleITK.Image:
    """The mask on the image's grid."""
    return SimpleITK.Resample(mask, image, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0)


def laid(head: Head, transform: SimpleITK.Transform) -> Head:
    """The head where it would lie if ``transform`` (rigid, from there to its place) were undone.

    Only the grid moves: nothing is interpolated.
    """
    back = np.linalg.inv(matrix_of(transform))
    centre = (back[:3, :3] @ head.centre + back[:3, 3]).tolist()
    return head.on_grid_moved_by(back, tuple(centre))


def mirrored(head: Head) -> Head:
    """The head flipped left–right about its centre; only the grid is reflected."""
    return head.on_grid_moved_by(reflection_about(head.centre), head.centre)


def reflection_about(centre: tuple[float, float, float]) -> np.ndarray:
    """(4, 4) reflection of x (left–right in LPS) about a point."""
    matrix = np.diag([-1.0, 1.0, 1.0, 1.0])
    matrix[0, 3] = 2 * centre[0]
    return matrix


def _on_moved_grid(image: SimpleITK.Image, motion: np.ndarray) -> SimpleITK.Image:
    there = SimpleITK.Image(image)
    directions = motion[:3, :3] @ np.array(image.GetDirection()).reshape(3, 3)
    there.SetDirection(directions.ravel().tolist())
    there.SetOrigin((motion @ [*image.GetOrigin(), 1.0])[:3].tolist())
    return there


def head_mask(image: SimpleITK.Image) -> SimpleITK.Image:
    """Largest object above Otsu's threshold, closed and without holes; uint8, 0 or 1."""
    coarse = SimpleITK.SmoothingRecursiveGaussian(shrink(image, MASK_VOXEL_MM), MASK_VOXEL_MM)
    bright = SimpleITK.OtsuThreshold(coarse, 0, 1)
    objects = SimpleITK.RelabelComponent(SimpleITK.ConnectedComponent(bright))
    radius = [max(1, round(3 * MASK_VOXEL_MM / step)) for step in coarse.GetSpacing()]
    closed = SimpleITK.BinaryMorphologicalClosing(objects == 1, radius)
    return SimpleITK.Cast(SimpleITK.BinaryFillhole(closed), SimpleITK.sitkUInt8)


def surface_points(mask: SimpleITK.Image, count: int = SURFACE_POINTS) -> np.ndarray:
    """(N, 3) points (LPS, mm) spread evenly over the mask's surface, N at most ``count``."""
    edge = SimpleITK.GetArrayFromImage(SimpleITK.BinaryContour(mask))
    indices = np.argwhere(edge)[:, ::-1]
    chosen = indices[np.linspace(0, len(indices) - 1, min(count, len(indices))).astype(int)]
    return np.array([mask.TransformIndexToPhysicalPoint(index) for index in chosen.tolist()])


def box_points(mask: SimpleITK.Image) -> np.ndarray:
    """(9, 3) points (LPS, mm): the corners and the centre of the mask's bounding box."""
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.Execute(mask)
    box = np.array(shape.GetBoundingBox(1))
    first, last = box[:3], box[:3] + box[3:] - 1
    corners = [
        np.where(choice, last, first).astype(float).tolist() for choice in np.ndindex(2, 2, 2)
    ]
    points = [mask.TransformContinuousIndexToPhysicalPoint(corner) for corner in corners]
    return np.array([*points, np.mean(points, axis=0)])


def voxel_diagonal(volume: Volume) -> float:
    """Length of a voxel's diagonal in mm."""
    return float(np.linalg.norm(volume.spacing))
