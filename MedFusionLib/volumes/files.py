"""Volumes from files and folders, and into files, by the ending of the name."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from MedFusionLib.errors import InputError
from MedFusionLib.outputs import refuse_unwritable_folder, written_whole
from MedFusionLib.volumes.dicom_headers import is_dicom
from MedFusionLib.volumes.modality import with_modality
from MedFusionLib.volumes.volume import Volume, from_image, to_image

WRITABLE_SUFFIXES = (".nrrd", ".nii.gz", ".nii", ".mha", ".mgz")
MGZ_SUFFIXES = (".mgz", ".mgh")


def read_volume(
    path: str | os.PathLike[str], modality: str | None = None, series: str | None = None
) -> Volume:
    """Read a NIfTI, NRRD, MetaImage, MGZ or multi-frame DICOM file, or a DICOM series of a folder.

    ``modality`` overrides what the file says; without either, a guess is made and marked as
    such in ``metadata["modality_source"]``. ``series`` picks one series (its UID) of a DICOM folder
    with several, and one stack (``UID:NAME=VALUE``) of a series with several. Raises ``InputError``
    with a sentence for whatever cannot be a volume.
    """
    place = Path(path)
    if not place.exists():
        raise InputError(f"There is no file or folder '{place}'. Check the path.")
    if place.is_dir():
        from MedFusionLib.volumes.dicom_series import read_series

        volume = read_series(place, series)
    elif is_dicom(place):
        from MedFusionLib.volumes.dicom_series import read_file

        volume = read_file(place, series)
    else:
        if series is not None:
            raise InputError("A series can be picked from DICOM only, not from another file.")
        volume = _read_file(place)
    return with_modality(volume, modality, place.name)


def _read_file(path: Path) -> Volume:
    import SimpleITK

    if path.name.lower().endswith(MGZ_SUFFIXES):
        from MedFusionLib.volumes.mgz import read_mgz

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
    return from_image(image, metadata={"source": str(path)})


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


def write_volume(volume: Volume, path: str | os.PathLike[str]) -> None:
    """Write a volume in the format that the file's ending names.

    The file appears whole or not at all: it is written under a temporary name in the same
    folder and then renamed.
    """
    place = check_writable(path)
    with written_whole(place) as partial:
        _write_file(volume, partial, place)


def _write_file(volume: Volume, partial: Path, place: Path) -> None:
    import SimpleITK

    if place.name.lower().endswith(MGZ_SUFFIXES):
        from MedFusionLib.volumes.mgz import write_mgz

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
