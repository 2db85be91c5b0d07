"""Volumes from files and folders, and into files, by the content and by the ending of the name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from MedFusionLib.errors import InputError, last_line
from MedFusionLib.outputs import refuse_unwritable_file, written_whole
from MedFusionLib.volumes import metaimage_header, nrrd_header
from MedFusionLib.volumes.content import first_bytes
from MedFusionLib.volumes.dicom_headers import is_dicom
from MedFusionLib.volumes.hushed import hushed
from MedFusionLib.volumes.modality import with_modality
from MedFusionLib.volumes.nifti import HEADER_BYTES, is_nifti, read_nifti
from MedFusionLib.volumes.nifti_geometry import refuse_unknown_form
from MedFusionLib.volumes.synthetic import METADATA, from_header, header_note
from MedFusionLib.volumes.volume import Volume, from_image, same_grid, to_image

NIFTI_SUFFIXES = (".nii.gz", ".nii")
MGZ_SUFFIXES = (".mgz", ".mgh")
WRITABLE_SUFFIXES = (".nrrd", *NIFTI_SUFFIXES, ".mha", ".mgz")
MGZ_TYPES = ("uint8", "int16", "int32", "float32")


def read_volume(
    path: str | os.PathLike[str],
    modality: str | None = None,
    series: str | None = None,
    geometry: str | None = None,
) -> Volume:
    """Read a NIfTI, NRRD, MetaImage, MGZ or multi-frame DICOM file, or a DICOM series of a folder.

    ``modality`` overrides what the file says; without either, a guess is made and marked as
    such in ``metadata["modality_source"]``. ``series`` picks one series (its UID) of a DICOM folder
    with several, and one stack (``UID:NAME=VALUE``) of a series with several. ``geometry`` (sform
    or qform) picks one of a NIfTI file's two positions; other files have one. Raises ``InputError``
    with a sentence for whatever cannot be a volume, and for what is truncated, damaged or does not
    say where its voxels lie (see docs/FILES.md).
    """
    place = Path(path)
    refuse_unknown_form(geometry)
    if _is_folder(place):
        from MedFusionLib.volumes.dicom_series import read_series

        volume = read_series(place, series)
    elif is_dicom(place):
        from MedFusionLib.volumes.dicom_series import read_file

        volume = read_file(place, series)
    else:
        if series is not None:
            raise InputError("A series can be picked from DICOM only, not from another file.")
        volume = _read_file(place, geometry)
    return with_modality(volume, modality, place.name)


def _is_folder(place: Path) -> bool:
    try:
        if place.exists():
            return place.is_dir()
    except OSError as error:  # a name longer than the file system takes
        raise InputError(f"'{place}' cannot be read: {error.strerror or error}.") from error
    raise InputError(f"There is no file or folder '{place}'. Check the path.")


def _read_file(path: Path, geometry: str | None) -> Volume:
    if path.name.lower().endswith(MGZ_SUFFIXES):
        from MedFusionLib.volumes.mgz import read_mgz

        return read_mgz(path)
    if is_nifti(path):
        return read_nifti(path, geometry)
    start = first_bytes(path, HEADER_BYTES)
    if start.startswith(nrrd_header.MAGIC):
        nrrd_header.refuse_bad_nrrd(path)
        return _read_with_itk(path, "NrrdImageIO")
    if metaimage_header.looks_like_metaimage(start):
        metaimage_header.refuse_bad_metaimage(path)
        return _read_with_itk(path, "MetaImageIO")
    raise InputError(
        f"'{path}' cannot be read as a volume: it is truncated, or not a NIfTI, NRRD, MetaImage, "
        "MGZ or DICOM file. Export it again."
    )


def _read_with_itk(path: Path, reader_name: str) -> Volume:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(reader_name)
    reader.SetFileName(str(path))
    try:
        with hushed():
            reader.ReadImageInformation()
            metadata = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
            image = reader.Execute()
    except RuntimeError as error:
        raise InputError(
            f"'{path}' cannot be read: {last_line(error)}. It is truncated or damaged; export "
            "it again."
        ) from error
    _refuse_label_map(metadata, path)
    return from_image(image, metadata={"source": str(path), **from_header(metadata)})


def _refuse_label_map(metadata: Mapping[str, Any], path: Path) -> None:
    if any(key.startswith("Segment0_") for key in metadata):  # Slicer's segmentations
        raise InputError(f"'{path}' is a label map, not an image. Choose an MR, CT, PET or SPECT.")


def check_writable(path: str | os.PathLike[str]) -> Path:
    """The path, if a volume can be written there; called before the work starts.

    Raises ``InputError`` for an unknown format or a folder that cannot be written to.
    """
    place = Path(path)
    _suffix(place)
    refuse_unwritable_file(place)
    return place


def _suffix(place: Path) -> str:
    """The ending that names the format, in lower case."""
    for suffix in WRITABLE_SUFFIXES:
        if place.name.lower().endswith(suffix):
            return suffix
    known = ", ".join(WRITABLE_SUFFIXES)
    raise InputError(f"'{place.name}' has no known volume format. End it with one of: {known}.")


def refuse_unheld(
    path: str | os.PathLike[str], grid: Volume, voxel_type: np.dtype, is_colour: bool
) -> None:
    """Raise ``InputError`` where a file's format cannot hold a grid or a kind of voxel.

    Called before the work starts, with the grid that the result will have.
    """
    place = Path(path)
    suffix = _suffix(place)
    if suffix in NIFTI_SUFFIXES:
        refuse_sheared(grid, f"'{place.name}'")
    if suffix != ".mgz":
        return
    if is_colour:
        raise InputError(
            "An MGZ file holds no colour. Write .nrrd, or fuse in grey (--colour grey)."
        )
    if voxel_type.name not in MGZ_TYPES:
        raise InputError(
            f"An MGZ file holds no voxels of the type {voxel_type.name}. Write '{place.name}' as "
            ".nrrd."
        )


def refuse_sheared(grid: Volume, output: str) -> None:
    """Raise ``InputError`` where right-angled axes would place a grid's voxels elsewhere.

    ``output`` is what could hold none but such axes.
    """
    left, _, right = np.linalg.svd(grid.direction_matrix)
    straight = replace(grid, directions=tuple((left @ right).ravel().tolist()))
    if not same_grid(grid, straight):
        raise InputError(
            f"The axes of the reference volume are not at right angles, and {output} could not "
            "hold that: write .nrrd or .mha, or resample the reference first."
        )


def write_volume(volume: Volume, path: str | os.PathLike[str]) -> None:
    """Write a volume in the format that the file's ending names.

    The file appears whole or not at all: it is written under a temporary name in the same
    folder, read back and compared, and then renamed. Raises ``InputError`` otherwise.
    """
    place = check_writable(path)
    refuse_unheld(place, volume, volume.voxels.dtype, volume.is_colour)
    with written_whole(place) as partial:
        # Writers know their formats by endings in lower case.
        plain = partial.with_name("volume" + _suffix(place))
        _write_file(volume, plain, place)
        _refuse_lost(volume, plain, place)
        plain.replace(partial)


def _write_file(volume: Volume, partial: Path, place: Path) -> None:
    import SimpleITK

    try:
        if partial.suffix in MGZ_SUFFIXES:
            from MedFusionLib.volumes.mgz import write_mgz

            return write_mgz(volume, partial)
        with hushed():
            image = to_image(volume)
            for key, text in header_note(volume.metadata.get(METADATA, "")).items():
                image.SetMetaData(key, text)
            SimpleITK.WriteImage(image, str(partial), useCompression=True)
    except (RuntimeError, TypeError, OSError) as error:
        raise InputError(
            f"'{place.name}' could not be written ({last_line(error)}). Is the disk full, or "
            "does the format not hold this kind of voxel?"
        ) from error


def _refuse_lost(volume: Volume, written: Path, place: Path) -> None:
    """Raise ``InputError`` unless a file gives back the voxels and the grid that it was given."""
    try:
        again = _read_file(written, None)
    except InputError as error:
        raise InputError(
            f"'{place.name}' could not be written: what was written cannot be read back. Is the "
            "disk full?"
        ) from error
    refuse_unlike(volume, again, place.name)
    if METADATA in volume.metadata and METADATA not in again.metadata:
        raise InputError(f"'{place.name}' cannot say that the volume is synthetic. Write .nrrd.")


def refuse_unlike(volume: Volume, again: Volume, name: str) -> None:
    """Raise ``InputError`` unless what was read back has a volume's voxels and grid."""
    if again.voxels.shape != volume.voxels.shape or not same_grid(volume, again):
        raise InputError(f"'{name}' cannot hold this grid. Write .nrrd.")
    if not np.array_equal(again.voxels, volume.voxels, equal_nan=volume.voxels.dtype.kind == "f"):
        raise InputError(f"'{name}' cannot hold these voxels as they are. Write .nrrd.")
