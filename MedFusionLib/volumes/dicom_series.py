"""A DICOM series from a folder or a file, with the place of every slice checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.dicom_frames import Frame, all_frames
from MedFusionLib.volumes.dicom_headers import (
    DicomFolder,
    Header,
    is_dicom,
    quiet_pydicom,
    read_header,
    scan_files,
    scan_folder,
)
from MedFusionLib.volumes.dicom_pixels import voxels_of
from MedFusionLib.volumes.dicom_stacks import one_stack, parse_choice, without_localizers
from MedFusionLib.volumes.even_grid import SliceGaps, SlicePlaces, on_even_grid
from MedFusionLib.volumes.suv import suv_scale
from MedFusionLib.volumes.volume import Volume

__all__ = ["is_dicom", "list_series", "read_file", "read_files", "read_series"]

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
KEPT_KEYWORDS = {
    "Modality": "dicom_modality",
    "FrameOfReferenceUID": "frame_of_reference_uid",
    "StudyInstanceUID": "study_uid",
    "SeriesInstanceUID": "series_uid",
    "SeriesDescription": "series_description",
    "Units": "units",
    "PatientID": "patient_id",
    "PatientName": "patient_name",
    "PatientBirthDate": "patient_birth_date",
    "PatientSex": "patient_sex",
    "PatientIdentityRemoved": "patient_identity_removed",
    "StudyDate": "study_date",
}


def list_series(folder: Path) -> dict[str, tuple[str, ...]]:
    """UID and files of each series of images in a folder."""
    with quiet_pydicom():
        found = scan_folder(folder).series
    return {uid: tuple(str(header.path) for header in headers) for uid, headers in found.items()}


def read_series(folder: Path, series: str | None = None) -> Volume:
    """Read one DICOM series as a volume on an even, right-angled grid.

    ``series`` is a UID, or ``UID:NAME=VALUE,…`` where a series holds several stacks (echoes,
    phases, acquisitions). Slices with uneven gaps, or shifted sideways by a tilted gantry, are
    resampled to an even grid, with a warning in ``metadata["warnings"]``. Raises ``InputError``
    when there is no series, when there are several series or stacks and none is picked, when slices
    are missing, and where headers do not say where their pixels lie.
    """
    uid, choice = parse_choice(series)
    with quiet_pydicom():
        found = scan_folder(folder)
        headers = _picked_headers(folder, found, uid)
        return _volume(headers, choice, folder, found)


def read_file(path: Path, series: str | None = None) -> Volume:
    """Read a multi-frame DICOM file (enhanced MR, CT, PET; nuclear medicine; dose) as a volume.

    ``series`` may pick one of several stacks in it, as in ``read_series``. Raises ``InputError``
    like that, and for a file of a single slice.
    """
    uid, choice = parse_choice(series)
    with quiet_pydicom():
        header = read_header(path)
        if header is None or "Rows" not in header.dataset:
            raise InputError(f"'{path}' is a DICOM file without an image. Choose another file.")
        if uid is not None and uid != header.text("SeriesInstanceUID"):
            held = header.text("SeriesInstanceUID")
            raise InputError(f"'{path}' does not belong to the series {uid}, but to {held}.")
        return _volume([header], choice, path, DicomFolder())


def read_files(files: Sequence[Path], series: str | None = None) -> Volume:
    """Read the files of one DICOM series, wherever they lie, as ``read_series`` reads a folder.

    Whoever lists the files knows which belong to the series. So one that is gone, cannot be
    opened or is no DICOM file is refused, too: it may be a slice.
    """
    uid, choice = parse_choice(series)
    if not files:
        raise InputError("The series has no files. Import it again.")
    with quiet_pydicom():
        found = scan_files(sorted(files, key=lambda path: path.name))
        lost = [*found.unreadable, *found.no_dicom]
        if lost:
            raise InputError(
                f"{len(lost)} of {len(files)} files of the series cannot be read ('{lost[0]}' is "
                "the first of them). Put them back, or import the series again."
            )
        where = files[0].parent
        return _volume(_picked_headers(where, found, uid), choice, where, found)


def _picked_headers(folder: Path, found: DicomFolder, uid: str | None) -> list[Header]:
    if not found.series:
        left = " ".join(found.warnings()[:1])
        raise InputError(
            f"The folder '{folder}' holds no DICOM series. Check the path. {left}".strip()
        )
    listing = "; ".join(f"{uid} ({len(held)} files)" for uid, held in found.series.items())
    if uid is None and len(found.series) > 1:
        raise InputError(
            f"The folder '{folder}' holds {len(found.series)} series: {listing}. Pick one "
            "(--series)."
        )
    if uid is not None and uid not in found.series:
        raise InputError(f"The folder '{folder}' has no series {uid}. It holds: {listing}.")
    return next(iter(found.series.values())) if uid is None else found.series[uid]


def _volume(
    headers: Sequence[Header], choice: dict[str, str], where: Path, found: DicomFolder
) -> Volume:
    if headers[0].text("SOPClassUID") == SEGMENTATION:
        raise InputError(f"'{where}' is a label map, not an image. Choose an MR, CT, PET or SPECT.")
    frames, told = without_localizers(list(all_frames(headers)))
    stack = one_stack(frames, choice, str(where)) if frames else []
    if len(stack) < 2:
        raise InputError(f"The series in '{where}' is a single slice. MedFusion needs a volume.")
    places = SlicePlaces(np.array([frame.position for frame in stack]), stack[0].orientation)
    gaps = SliceGaps(np.diff(places.along), _numbers(stack))
    _refuse_missing_slices(gaps, found, where)
    told += [*found.warnings(), *_warnings(stack)]
    volume = _stacked(stack, gaps.step, _metadata(stack, where, told))
    if gaps.even and not places.shifted:
        return volume
    return on_even_grid(volume, places, gaps)


def _numbers(stack: Sequence[Frame]) -> np.ndarray | None:
    numbers = [frame.instance for frame in stack]
    return None if None in numbers else np.array(numbers, float)


def _refuse_missing_slices(gaps: SliceGaps, found: DicomFolder, where: Path) -> None:
    unread = f" These files cannot be opened: {', '.join(found.unreadable[:5])}." * bool(
        found.unreadable
    )
    if gaps.slices_missing:
        raise InputError(
            f"Slices are missing in '{where}': {gaps.sentence()}.{unread} Export the whole series "
            "again."
        )
    if found.unreadable and gaps.numbers is not None and _numbers_have_holes(gaps.numbers):
        raise InputError(
            f"Slices may be missing in '{where}': the instance numbers of the rest leave places "
            f"free.{unread} Export the whole series again."
        )


def _numbers_have_holes(numbers: np.ndarray) -> bool:
    """Whether they do not run on from 0 or 1."""
    counted = np.sort(numbers)
    return bool(counted[0] > 1 or np.any(np.diff(counted) > 1))


def _warnings(stack: Sequence[Frame]) -> list[str]:
    """What is read as it is, and worth a second look."""
    first = stack[0].header
    told = [note for note in dict.fromkeys(frame.note for frame in stack) if note]
    if first.text("Modality") == "CT" and stack[0].rescale is None:
        told.append(
            "The CT does not say how its values become Hounsfield units; they were taken as such."
        )
    if any(frame.header.text("LossyImageCompression") == "01" for frame in stack):
        told.append("The images were compressed with loss.")
    slices = first.text("NumberOfSlices")
    if slices.isdigit() and len(stack) < int(slices):
        told.append(f"The series is said to have {slices} slices; {len(stack)} are here.")
    return told


def _metadata(stack: Sequence[Frame], where: Path, told: Sequence[str]) -> dict[str, str]:
    headers = list({id(frame.header): frame.header for frame in stack}.values())
    kept = {name: headers[0].text(keyword) for keyword, name in KEPT_KEYWORDS.items()}
    metadata = {
        "source": str(where),
        "source_files": "\n".join(str(header.path) for header in headers),
        "warnings": "\n".join(told),
        **kept,
        **_uptake(headers),
    }
    return {name: text for name, text in metadata.items() if text}


def _uptake(headers: Sequence[Header]) -> dict[str, str]:
    if headers[0].text("Modality") != "PT":
        return {}
    factor, reason = suv_scale([header.dataset for header in headers])
    return {"suv_reason": reason} if factor is None else {"suv_factor": repr(factor)}


def _stacked(stack: Sequence[Frame], step: float, metadata: dict[str, str]) -> Volume:
    """The slices on the grid of the first one, ``step`` mm apart."""
    first = stack[0]
    rows, columns = first.pixel_spacing
    directions = np.column_stack([*first.orientation, first.normal])
    x, y, z = first.position.tolist()
    volume = Volume(
        voxels_of(stack),
        (columns, rows, step),
        (x, y, z),
        tuple(directions.ravel().tolist()),
        metadata=metadata,
    )
    _refuse_thin(volume)
    return volume


def _refuse_thin(volume: Volume) -> None:
    if min(volume.grid_shape) < 2:
        size = "×".join(map(str, volume.grid_shape[::-1]))
        raise InputError(
            f"The series holds a single line of pixels ({size}). MedFusion needs a volume of at "
            "least two voxels along each axis."
        )
