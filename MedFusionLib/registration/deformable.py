"""Bending the other volume a little after a rigid alignment.

For EPI distortion, brain shift and soft tissue. The engine is convexAdam (Siebert et al., IEEE TMI
44:738–748, 2025): self-similarity descriptors (MIND), which do not ask for equal contrast, a
coupled convex search and a regularised descent. It has no weights. An optional extra:
``pip install 'medfusion[deformable]'``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK

from MedFusionLib.errors import InputError, RegistrationError
from MedFusionLib.registration.images import SKIN_MM, Head, see_head
from MedFusionLib.registration.measures import mutual_information
from MedFusionLib.volumes.volume import Volume

VOXEL_MM = 3.0
MARGIN_MM = 20.0
"""Around the head; there the bending fades out, so that the field ends at its edge."""
SIDE_MULTIPLE = 8
LEAST_JACOBIAN = 0.1
"""Share of its size below which no tissue may be squeezed; at 0 space would fold."""
SMOOTHING_MM = 4.0
SMOOTHED_AT_MOST = 6
SAME_OUTLINE = 0.85
"""Overlap (Dice) of two heads from which on their outlines are taken for the same."""
LARGE_MM = 15.0
"""Larger than what EPI distortion and brain shift commonly reach."""

IDENTITY = SimpleITK.Transform(3, SimpleITK.sitkIdentity)
ENGINE = {
    "grid_sp": 4,
    "disp_hw": 2,
    "lambda_weight": 20.0,
    "selected_niter": 40,
    "selected_smooth": 5,
}
"""A search of ±8 voxels, which is 24 mm, on every fourth voxel."""


@dataclass(frozen=True)
class Deformation:
    """How the other volume was bent.

    ``transform`` maps reference to other space (LPS, mm): the displacement field first, then
    ``rigid``. ``largest_mm``: largest displacement in the reference's head. ``least_jacobian``:
    smallest local change of volume, 1 where nothing changes; above 0, nothing folds.
    ``mutual_information_before``, ``_after``: nats, without and with the bending.
    """

    transform: SimpleITK.Transform
    rigid: SimpleITK.Transform
    largest_mm: float
    least_jacobian: float
    mutual_information_before: float
    mutual_information_after: float

    @property
    def is_large(self) -> bool:
        """Whether tissue moved so far that a reader should ask why."""
        return self.largest_mm > LARGE_MM

    @property
    def sentence(self) -> str:
        """What happened, for a user."""
        if self.largest_mm == 0:
            return "Bending the other volume did not make it fit better, so it stays rigid."
        return (
            f"The other volume was bent by up to {self.largest_mm:.1f} mm in the head; no tissue "
            f"was squeezed to less than {100 * self.least_jacobian:.0f} % of its size."
        )

    def to_report(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "largest_mm": self.largest_mm,
            "least_jacobian": self.least_jacobian,
            "mutual_information_before": self.mutual_information_before,
            "mutual_information_after": self.mutual_information_after,
            "sentence": self.sentence,
        }


def refuse_missing_engine() -> None:
    """Raise ``InputError`` where convexAdam is not installed."""
    try:
        import convexAdam.convex_adam_MIND  # noqa: F401
    except ImportError as error:
        raise InputError(
            "The deformable alignment needs the package convexAdam, which is not installed. "
            "Install it with: pip install 'medfusion[deformable]'."
        ) from error


def deform(reference: Volume, other: Volume, rigid: SimpleITK.Transform) -> Deformation:
    """Bend the other volume onto the reference, from where ``rigid`` lays it.

    ``rigid`` maps reference to other space (LPS, mm). Where bending does not raise the mutual
    information, nothing is bent. Raises ``InputError`` without convexAdam, ``RegistrationError``
    where a field folds space however much it is smoothed.
    """
    refuse_missing_engine()
    fixed, moving = see_head(reference, "reference"), see_head(other, "other")
    grid = _grid_around(fixed)
    one, two = _where_both_are((fixed, moving), (IDENTITY, rigid), grid)
    field, jacobian = _without_folds(_faded(_displacements(one, two), grid), grid)
    before = mutual_information(fixed, moving, rigid)
    bent = SimpleITK.CompositeTransform(
        [rigid, SimpleITK.DisplacementFieldTransform(SimpleITK.Image(field))]
    )
    after = mutual_information(fixed, moving, bent)
    if after <= before:
        return Deformation(rigid, rigid, 0.0, 1.0, before, before)
    return Deformation(bent, rigid, _largest(field, fixed), jacobian, before, after)


def _grid_around(head: Head) -> SimpleITK.Image:
    """Empty image over the head's box and its margin, in the head's directions."""
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.Execute(head.mask)
    box = np.array(shape.GetBoundingBox(1), dtype=float)
    extent = box[3:] * head.mask.GetSpacing() + 2 * MARGIN_MM
    size = SIDE_MULTIPLE * np.ceil(extent / VOXEL_MM / SIDE_MULTIPLE).astype(int)
    directions = np.array(head.mask.GetDirection()).reshape(3, 3)
    middle = head.mask.TransformContinuousIndexToPhysicalPoint(
        (box[:3] + box[3:] / 2 - 0.5).tolist()
    )
    grid = SimpleITK.Image(size.tolist(), SimpleITK.sitkFloat32)
    grid.SetSpacing([VOXEL_MM] * 3)
    grid.SetDirection(head.mask.GetDirection())
    grid.SetOrigin((middle - directions @ ((size - 1) * VOXEL_MM / 2)).tolist())
    return grid


def _where_both_are(
    heads: tuple[Head, Head],
    transforms: tuple[SimpleITK.Transform, SimpleITK.Transform],
    grid: SimpleITK.Image,
) -> list[SimpleITK.Image]:
    """Both heads on the grid, each one dark value where either has nothing.

    What one volume alone shows, a scalp or a neck, would be pulled to whatever the other has
    there. So the outline, which needs the air around it, is looked at only where both have it.
    """
    masks = [
        SimpleITK.Resample(head.mask, grid, transform, SimpleITK.sitkNearestNeighbor, 0)
        for head, transform in zip(heads, transforms, strict=True)
    ]
    if _likeness(*masks) >= SAME_OUTLINE:
        radius = [round(SKIN_MM / VOXEL_MM)] * 3
        masks = [SimpleITK.BinaryDilate(mask, radius) for mask in masks]
    shared = SimpleITK.And(*masks)
    return [
        _masked(head.level(VOXEL_MM), transform, grid, shared)
        for head, transform in zip(heads, transforms, strict=True)
    ]


def _likeness(one: SimpleITK.Image, two: SimpleITK.Image) -> float:
    """Dice, Ecology 26:297–302, 1945: twice the shared part over the sum of both."""
    first, second = (SimpleITK.GetArrayViewFromImage(mask) > 0 for mask in (one, two))
    return float(2 * (first & second).sum() / max(1, first.sum() + second.sum()))


def _masked(
    image: SimpleITK.Image,
    transform: SimpleITK.Transform,
    grid: SimpleITK.Image,
    mask: SimpleITK.Image,
) -> SimpleITK.Image:
    dark = float(SimpleITK.GetArrayViewFromImage(image).min())
    there = SimpleITK.Resample(image, grid, transform, SimpleITK.sitkLinear, dark)
    return SimpleITK.Mask(there, mask, dark)


def _displacements(one: SimpleITK.Image, two: SimpleITK.Image) -> np.ndarray:
    """(K, J, I, 3) displacements in voxels along i, j, k from the first image to the second."""
    import torch
    from convexAdam.convex_adam_MIND import convex_adam_pt

    voxels = [torch.from_numpy(_in_unit_range(image)) for image in (one, two)]
    found = convex_adam_pt(*voxels, dtype=torch.float32, device=torch.device("cpu"), **ENGINE)
    return np.ascontiguousarray(found[..., ::-1])


def _in_unit_range(image: SimpleITK.Image) -> np.ndarray:
    values = SimpleITK.GetArrayFromImage(image).astype(np.float32)
    return (values - values.min()) / max(float(np.ptp(values)), 1e-9)


def _faded(displacements: np.ndarray, grid: SimpleITK.Image) -> SimpleITK.Image:
    """Displacement field in mm (LPS) that ends in nothing at the edge of the grid."""
    ramps = [
        np.minimum(np.arange(n), np.arange(n)[::-1]) * VOXEL_MM / MARGIN_MM
        for n in displacements.shape[:3]
    ]
    fading = np.clip(np.minimum.reduce(np.meshgrid(*ramps, indexing="ij")), 0.0, 1.0)
    directions = np.array(grid.GetDirection()).reshape(3, 3)
    ways = (displacements * fading[..., np.newaxis] * VOXEL_MM) @ directions.T
    field = SimpleITK.GetImageFromArray(ways.astype(np.float64), isVector=True)
    field.CopyInformation(grid)
    return field


def _without_folds(field: SimpleITK.Image, grid: SimpleITK.Image) -> tuple[SimpleITK.Image, float]:
    """The field, smoothed until no tissue is squeezed too far, and its smallest Jacobian."""
    for _ in range(SMOOTHED_AT_MOST):
        least = _least_jacobian(field)
        if least >= LEAST_JACOBIAN:
            return field, least
        smooth = SimpleITK.SmoothingRecursiveGaussian(field, SMOOTHING_MM)
        field = _faded(_in_voxels(smooth, grid), grid)
    raise RegistrationError(
        "The deformable alignment would fold tissue onto itself, so it is not used. Take the rigid "
        "alignment, and check that both volumes show the same head."
    )


def _in_voxels(field: SimpleITK.Image, grid: SimpleITK.Image) -> np.ndarray:
    directions = np.array(grid.GetDirection()).reshape(3, 3)
    return SimpleITK.GetArrayFromImage(field) @ directions / VOXEL_MM


def _least_jacobian(field: SimpleITK.Image) -> float:
    determinant = SimpleITK.DisplacementFieldJacobianDeterminant(field)
    return float(SimpleITK.GetArrayFromImage(determinant).min())


def _largest(field: SimpleITK.Image, head: Head) -> float:
    inside = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(
            head.mask, field, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0
        )
    )
    ways = SimpleITK.GetArrayViewFromImage(field)[inside > 0]
    return float(np.linalg.norm(ways, axis=1).max())
