"""How two volumes lie to each other, and resampling one to the other's grid."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MedFusionLib.errors import GeometryError, InputError
from MedFusionLib.volumes.hushed import hushed
from MedFusionLib.volumes.volume import Volume, same_grid, to_image

if TYPE_CHECKING:
    import SimpleITK

SAMPLES_PER_AXIS = 24
LITTLE_OVERLAP = 0.25

SAME_GRID = "same grid"
OTHER_GRID = "same space, other grid"
DIFFERENT_FRAMES = "different frames of reference"
NO_OVERLAP = "no overlap"
MORE_THAN_ONE = "more than one transform"
"""What ITK warns of where it reads the first transform of a file and passes over the others."""


@dataclass(frozen=True)
class Overlap:
    """How two volumes lie to each other in space.

    ``kind``: same grid, same space other grid, different frames of reference, or no overlap.
    ``fraction``: share of the smaller field of view that lies inside the other one, 0 to 1.
    """

    kind: str
    fraction: float
    sentence: str

    @property
    def is_little(self) -> bool:
        """Whether so little overlaps that a user should be warned."""
        return self.fraction < LITTLE_OVERLAP


def describe_overlap(
    reference: Volume, other: Volume, transform: SimpleITK.Transform | None = None
) -> Overlap:
    """Compare two fields of view.

    ``transform`` maps points of the reference's space to the other's (LPS, mm); with one, the
    frames of reference are taken as reconciled.
    """
    fraction = _overlap_fraction(reference, other, transform)
    percent = f"{100 * fraction:.0f} % of the smaller field of view overlaps"
    if fraction == 0:
        return Overlap(NO_OVERLAP, 0.0, "The two volumes do not overlap in space.")
    if transform is None and frames_differ(reference, other):
        return Overlap(
            DIFFERENT_FRAMES, fraction, "The two volumes have different frames of reference."
        )
    if transform is None and same_grid(reference, other):
        return Overlap(SAME_GRID, 1.0, "The two volumes have the same grid.")
    return Overlap(OTHER_GRID, fraction, f"Same space, other grid: {percent}.")


def _overlap_fraction(
    reference: Volume, other: Volume, transform: SimpleITK.Transform | None
) -> float:
    """The larger of both covered shares, so that a small volume inside a large one counts as 1."""
    covered = _covered_share(reference, other, transform)
    if transform is None:
        return max(covered, _covered_share(other, reference, None))
    if transform.IsLinear():
        return max(covered, _covered_share(other, reference, transform.GetInverse()))
    return covered


def frames_differ(reference: Volume, other: Volume) -> bool:
    """Whether both volumes name a DICOM frame of reference and the names differ."""
    one = reference.metadata.get("frame_of_reference_uid")
    two = other.metadata.get("frame_of_reference_uid")
    return bool(one and two and one != two)


def _covered_share(grid: Volume, cover: Volume, transform: SimpleITK.Transform | None) -> float:
    """Share of a coarse lattice over ``grid`` that lies inside ``cover``."""
    shape = np.asarray(grid.grid_shape[::-1])
    axes = [np.linspace(0, length - 1, SAMPLES_PER_AXIS) for length in shape]
    indices = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    points = indices @ grid.affine_lps[:3, :3].T + grid.affine_lps[:3, 3]
    if transform is not None:
        points = np.array([transform.TransformPoint(point) for point in points.tolist()])
    inverse = np.linalg.inv(cover.affine_lps)
    inside = points @ inverse[:3, :3].T + inverse[:3, 3]
    limits = np.asarray(cover.grid_shape[::-1]) - 0.5
    return float(np.all((inside >= -0.5) & (inside <= limits), axis=1).mean())


def refuse_bad_overlap(overlap: Overlap) -> None:
    """Raise ``GeometryError`` where fusing would lay unrelated tissue on each other."""
    if overlap.kind == NO_OVERLAP:
        raise GeometryError(
            "The two volumes do not overlap in space. Align them first (--alignment rigid), give "
            "a transform (--transform), or check that they show the same patient and region."
        )
    if overlap.kind == DIFFERENT_FRAMES:
        raise GeometryError(
            "The two volumes have different frames of reference, so their positions cannot be "
            "compared. Align them first (--alignment rigid) or give a transform (--transform)."
        )


def resample(
    other: Volume, reference: Volume, transform: SimpleITK.Transform | None = None
) -> Volume:
    """The other volume on the reference's grid, by linear interpolation.

    ``transform`` maps points of the reference's space to the other's (LPS, mm), as ITK's
    registration writes them. Voxels that the other volume does not cover take its smallest
    value. The voxel type stays; the output's geometry is the reference's, bit for bit.
    """
    import SimpleITK

    if transform is None and _identical_geometry(other, reference):
        return replace(
            other,
            spacing=reference.spacing,
            origin=reference.origin,
            directions=reference.directions,
        )
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetSize([int(length) for length in reference.grid_shape[::-1]])
    resampler.SetOutputSpacing(reference.spacing)
    resampler.SetOutputOrigin(reference.origin)
    resampler.SetOutputDirection(reference.directions)
    resampler.SetInterpolator(SimpleITK.sitkLinear)
    resampler.SetDefaultPixelValue(float(other.voxels.min()))
    if transform is not None:
        resampler.SetTransform(transform)
    # Left to itself, the filter cuts the fraction off integer results: 1.9 would become 1.
    resampler.SetOutputPixelType(
        SimpleITK.sitkVectorFloat32 if other.is_colour else SimpleITK.sitkFloat32
    )
    image = resampler.Execute(to_image(other))
    return replace(
        other,
        voxels=_as_stored(SimpleITK.GetArrayViewFromImage(image), other.voxels.dtype),
        spacing=reference.spacing,
        origin=reference.origin,
        directions=reference.directions,
    )


def _as_stored(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A copy in another voxel type, rounded for integers; slice by slice to spare memory."""
    stored = np.empty(values.shape, dtype=dtype)
    for index, plane in enumerate(values):
        stored[index] = np.rint(plane) if dtype.kind in "iu" else plane
    return stored


def _identical_geometry(one: Volume, two: Volume) -> bool:
    return one.grid_shape == two.grid_shape and np.allclose(
        one.affine_lps, two.affine_lps, rtol=0, atol=1e-6
    )


def _read_by_ending(path: Path) -> SimpleITK.Transform:
    """ITK knows transform files by endings in lower case."""
    import SimpleITK

    if path.suffix.islower():
        return SimpleITK.ReadTransform(str(path))
    with tempfile.TemporaryDirectory(prefix="medfusion-") as folder:
        copy = Path(folder) / f"transform{path.suffix.lower()}"
        shutil.copyfile(path, copy)
        return SimpleITK.ReadTransform(str(copy))


def read_transform(path: str | os.PathLike[str]) -> SimpleITK.Transform:
    """Read a transform (.tfm, .txt, .h5, .mat) that maps reference space to other space (LPS).

    Raises ``InputError`` for a file that is none, is cut off or holds several, and for a transform
    that cannot lay one head on another (see ``refuse_bad_transform``).
    """
    import SimpleITK

    from MedFusionLib.registration.transform_checks import refuse_bad_transform

    if os.path.isdir(path):
        raise InputError(f"'{path}' is a folder. Give the name of a transform file.")
    if not os.path.isfile(path):
        raise InputError(f"There is no transform file '{path}'. Check the path.")
    try:
        with hushed() as printed:
            SimpleITK.ProcessObject.SetGlobalWarningDisplay(True)
            transform = _read_by_ending(Path(path))
            holds_several = MORE_THAN_ONE in printed()
    except RuntimeError as error:
        raise InputError(
            f"'{path}' is not a transform that ITK reads (.tfm, .txt, .h5, .mat), or is truncated."
        ) from error
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    if holds_several:
        raise InputError(
            f"'{path}' holds several transforms. Save the one that is meant, or all as one "
            "composite transform."
        )
    refuse_bad_transform(transform, f"The transform '{os.path.basename(path)}'")
    return transform
