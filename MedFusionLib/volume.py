"""A medical volume as a plain value, and its way from and to files.

Geometry is SimpleITK's: millimetres in LPS (x to the patient's left, y to the back, z to the
head); arrays are numpy's (K, J, I) with I the fastest axis.
"""

from __future__ import annotations

import gzip
import math
import os
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib.errors import InputError

if TYPE_CHECKING:
    import SimpleITK

MODALITIES = ("MR", "CT", "PET", "SPECT", "unknown")
WRITABLE_SUFFIXES = (".nrrd", ".nii.gz", ".nii", ".mha", ".mgz")
MGZ_SUFFIXES = (".mgz", ".mgh")
IDENTITY_DIRECTIONS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


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


def read_volume(
    path: str | os.PathLike[str], modality: str | None = None, series: str | None = None
) -> Volume:
    """Read a NIfTI, NRRD, MetaImage or MGZ file, or a DICOM series from a folder.

    ``modality`` overrides what the file says; without either, a guess is made and marked as
    such in ``metadata["modality_source"]``. ``series`` picks one series (its UID) of a folder
    with several. Raises ``InputError`` with a sentence for whatever cannot be a volume.
    """
    from MedFusionLib import modality as modality_rules

    place = Path(path)
    if not place.exists():
        raise InputError(f"There is no file or folder '{place}'. Check the path.")
    if place.is_dir():
        from MedFusionLib.dicom_series import read_series

        volume = read_series(place, series)
    else:
        if series is not None:
            raise InputError("A series can be picked from a DICOM folder only, not from a file.")
        volume = _read_file(place)
    return modality_rules.with_modality(volume, modality, place.name)


def _read_file(path: Path) -> Volume:
    import SimpleITK

    if path.name.lower().endswith(MGZ_SUFFIXES):
        from MedFusionLib.mgz import read_mgz

        return read_mgz(path)
    _refuse_broken_gzip(path)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        metadata = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
        _refuse_short_nifti(metadata, path)
        image = reader.Execute()
    except RuntimeError as error:
        raise InputError(
            f"'{path}' cannot be read as a volume: it is truncated, or not a NIfTI, NRRD, "
            "MetaImage or MGZ file. Export it again."
        ) from error
    _refuse_label_map(metadata, path)
    return from_image(image, metadata={"source": str(path)} | _file_modality(metadata))


def _refuse_broken_gzip(path: Path) -> None:
    """The NIfTI reader fills what a cut-off .nii.gz lacks with zeros and says nothing."""
    if path.suffix.lower() != ".gz":
        return
    try:
        with gzip.open(path) as stream:
            while stream.read(1 << 22):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"'{path}' is truncated or damaged ({error}). Export it again.") from error


def _refuse_short_nifti(metadata: Mapping[str, str], path: Path) -> None:
    """The reader fills what a cut-off .nii lacks with zeros, too."""
    if path.suffix.lower() != ".nii" or "bitpix" not in metadata:
        return
    axes = range(1, int(metadata["dim[0]"]) + 1)
    voxels = math.prod(int(metadata[f"dim[{axis}]"]) for axis in axes)
    needed = float(metadata["vox_offset"]) + voxels * int(metadata["bitpix"]) / 8
    if path.stat().st_size < needed:
        raise InputError(
            f"'{path}' is truncated: it holds {path.stat().st_size:,} of {needed:,.0f} bytes. "
            "Export it again."
        )


def _refuse_label_map(metadata: Mapping[str, Any], path: Path) -> None:
    nifti_label = metadata.get("intent_code", "").strip() == "1002"
    slicer_segmentation = any(key.startswith("Segment0_") for key in metadata)
    if nifti_label or slicer_segmentation:
        raise InputError(f"'{path}' is a label map, not an image. Choose an MR, CT, PET or SPECT.")


def _file_modality(metadata: Mapping[str, str]) -> dict[str, str]:
    """A single DICOM file carries its modality and frame of reference in its header."""
    tags = {"0008|0060": "dicom_modality", "0020|0052": "frame_of_reference_uid"}
    return {name: metadata[tag].strip() for tag, name in tags.items() if tag in metadata}


def check_writable(path: str | os.PathLike[str]) -> Path:
    """The path, if a volume can be written there; called before the work starts.

    Raises ``InputError`` for an unknown format or a folder that cannot be written to.
    """
    place = Path(path)
    if not place.name.lower().endswith(WRITABLE_SUFFIXES):
        known = ", ".join(WRITABLE_SUFFIXES)
        raise InputError(f"'{place.name}' has no known volume format. End it with one of: {known}.")
    refuse_unwritable_folder(place.parent)
    if place.is_dir():
        raise InputError(f"'{place}' is a folder. Give the name of a file in it.")
    return place


def refuse_unwritable_folder(folder: Path) -> None:
    """Raise ``InputError`` unless a file can be made in the folder."""
    if not folder.is_dir():
        raise InputError(f"The folder '{folder}' does not exist. Make it, or choose another.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"Nothing can be written to the folder '{folder}': {reason}.") from error


def write_volume(volume: Volume, path: str | os.PathLike[str]) -> None:
    """Write a volume in the format that the file's ending names.

    The file appears whole or not at all: it is written under a temporary name in the same
    folder and then renamed.
    """
    place = check_writable(path)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".medfusion-") as folder:
        partial = Path(folder) / place.name
        _write_file(volume, partial, place)
        os.replace(partial, place)


def _write_file(volume: Volume, partial: Path, place: Path) -> None:
    import SimpleITK

    if place.name.lower().endswith(MGZ_SUFFIXES):
        from MedFusionLib.mgz import write_mgz

        return write_mgz(volume, partial)
    try:
        SimpleITK.WriteImage(to_image(volume), str(partial), useCompression=True)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"'{place}' could not be written ({_first_line(error)}). Is the disk full, or "
            "does the format not hold this kind of voxel?"
        ) from error


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
