"""A medical volume as a plain value, and its way from and to SimpleITK's images.

Geometry is SimpleITK's: millimetres in LPS (x to the patient's left, y to the back, z to the
head); arrays are numpy's (K, J, I) with I the fastest axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from MedFusionLib.errors import InputError

if TYPE_CHECKING:
    import SimpleITK

MODALITIES = ("MR", "CT", "PET", "SPECT", "unknown")
IDENTITY_DIRECTIONS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels with their place in space. Nothing changes a Volume; functions make new ones.

    ``voxels``: (K, J, I), or (K, J, I, 3) for colour. ``spacing`` (I, J, K, mm), ``origin``
    (LPS, mm) and ``directions`` (9 numbers, row-major, columns are the I, J and K axes) are as
    SimpleITK gives them. ``modality`` is MR, CT, PET, SPECT or unknown. ``metadata`` holds
    what is known beside the voxels: ``modality_source`` (dicom, given or guess), ``source``
    (the file), ``frame_of_reference_uid``, ``warnings`` (one per line) and the like.
    """

    voxels: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    directions: tuple[float, ...] = IDENTITY_DIRECTIONS
    modality: str = "unknown"
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.voxels.shape
        if not (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)):
            raise InputError(
                f"A volume needs voxels of shape (K, J, I) or (K, J, I, 3), not {shape}. "
                "Choose one time point or one component first."
            )
        if self.modality not in MODALITIES:
            raise InputError(
                f"'{self.modality}' is not a modality. Choose one of: {', '.join(MODALITIES)}."
            )

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """Number of voxels along K, J and I."""
        return self.voxels.shape[:3]  # type: ignore[return-value]

    @property
    def is_colour(self) -> bool:
        """Whether each voxel holds red, green and blue."""
        return self.voxels.ndim == 4

    @property
    def direction_matrix(self) -> np.ndarray:
        """(3, 3): column c is the unit vector, in LPS, of array index I, J or K."""
        return np.asarray(self.directions, dtype=float).reshape(3, 3)

    @property
    def affine_lps(self) -> np.ndarray:
        """(4, 4): from voxel indices (i, j, k, 1) to millimetres in LPS."""
        affine = np.eye(4)
        affine[:3, :3] = self.direction_matrix * np.asarray(self.spacing)
        affine[:3, 3] = self.origin
        return affine


def placed(
    voxels: np.ndarray, affine_lps: np.ndarray, metadata: Mapping[str, str] | None = None
) -> Volume:
    """Volume whose voxels lie where an affine (4, 4; indices to millimetres in LPS) puts them."""
    spacing = np.linalg.norm(affine_lps[:3, :3], axis=0)
    i, j, k = spacing.tolist()
    x, y, z = affine_lps[:3, 3].tolist()
    directions = tuple((affine_lps[:3, :3] / spacing).ravel().tolist())
    return Volume(voxels, (i, j, k), (x, y, z), directions, metadata=dict(metadata or {}))


def same_grid(one: Volume, two: Volume) -> bool:
    """Whether two volumes have the same voxels in space, to a thousandth of a voxel."""
    if one.grid_shape != two.grid_shape:
        return False
    tolerance = 1e-3 * min(one.spacing)
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    corners[:, :3] *= np.asarray(one.grid_shape[::-1])
    difference = corners @ (one.affine_lps - two.affine_lps).T
    return bool(np.abs(difference).max() <= tolerance)


def to_image(volume: Volume) -> SimpleITK.Image:
    """SimpleITK image with the volume's voxels and geometry."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(volume.voxels, isVector=volume.is_colour)
    image.SetSpacing(volume.spacing)
    image.SetOrigin(volume.origin)
    image.SetDirection(volume.directions)
    return image


def from_image(
    image: SimpleITK.Image,
    modality: str = "unknown",
    metadata: Mapping[str, str] | None = None,
) -> Volume:
    """Volume from a 3D SimpleITK image: scalar, RGB, or RGBA (whose opacity is left out)."""
    import SimpleITK

    _refuse_what_is_no_volume(image)
    voxels = SimpleITK.GetArrayFromImage(image)
    if voxels.ndim == 4:
        voxels = voxels[..., :3]
    if voxels.dtype == np.float64:
        voxels = voxels.astype(np.float32)
    return Volume(
        voxels,
        image.GetSpacing(),
        image.GetOrigin(),
        image.GetDirection(),
        modality,
        dict(metadata or {}),
    )


def _refuse_what_is_no_volume(image: SimpleITK.Image) -> None:
    size = image.GetSize()
    if len(size) == 4 and size[3] == 1:
        raise InputError("The file holds a 4D image of one time point. Save it as a 3D volume.")
    if len(size) > 3:
        raise InputError(
            f"The file holds a 4D image of {size[3]} time points. Save one of them as a 3D volume."
        )
    if len(size) < 3 or min(size) < 2:
        raise InputError(
            f"The file holds a single slice ({'×'.join(map(str, size))}). MedFusion needs a "
            "volume of at least two slices along each axis."
        )
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError("The file holds complex numbers. Save the magnitude as a volume.")
    components = image.GetNumberOfComponentsPerPixel()
    if components not in (1, 3, 4):
        raise InputError(
            f"The file holds {components} values per voxel. MedFusion reads one (scalar) or "
            "three and four (colour)."
        )
