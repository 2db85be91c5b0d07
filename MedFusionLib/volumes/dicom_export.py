"""The fused volume as a derived DICOM series that says what it is.

Slicer's own exporter would call a fused volume an original acquisition. This one writes
DERIVED\\SECONDARY images that name the method, its weights and their source images, in the
reference's study and frame of reference. Grey volumes become MR images of 16 bits, colour volumes
become true-colour secondary captures with the position of each slice; one file a slice.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.outputs import refuse_unwritable_folder
from MedFusionLib.volumes.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE_STORAGE = "1.2.840.10008.5.1.4.1.1.7"
GREY_BITS = 12
"""Fused grey values run from 0 to 4095; they are stored in 16 bits."""

_FROM_REFERENCE = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientWeight",
    "PatientPosition",
    "BodyPartExamined",
    "Laterality",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)
# Must be there, empty when unknown (type 2 of the patient, study and frame of reference modules).
_MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
    "Laterality",
    "PatientPosition",
)


def export_dicom(
    volume: Volume,
    reference_metadata: Mapping[str, str],
    report: Mapping[str, Any],
    folder: str | os.PathLike[str],
    other_metadata: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write a fused volume (int16 0 … 4095, or uint8 RGB) as a DICOM series; its files in order.

    ``reference_metadata`` and ``other_metadata`` are those of the two sources. Where they name
    DICOM files (``source_files``, one path a line, or the folder ``source`` with ``series_uid``)
    patient, study and frame of reference come from the reference's files and every source image is
    referenced; else ``study_uid`` and ``frame_of_reference_uid`` are taken if they are there, and
    the patient stays empty. ``report`` is the fusion's. The folder has to be new or empty and is
    filled as a whole or not at all. Raises ``InputError`` otherwise.
    """
    place = _refuse_unfit_folder(Path(folder))
    _refuse_unfit_voxels(volume)
    references = _source_headers(reference_metadata)
    others = _source_headers(other_metadata or {})
    shared = _shared_dataset(volume, reference_metadata, references, report)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".medfusion-") as partial:
        for index in range(volume.grid_shape[0]):
            dataset = _slice_dataset(
                shared, volume, index, [*_at(references, volume, index), *others]
            )
            dataset.save_as(Path(partial) / _file_name(index), enforce_file_format=True)
        _move_into_place(Path(partial), place)
    return [place / _file_name(index) for index in range(volume.grid_shape[0])]


def _file_name(index: int) -> str:
    return f"IM{index + 1:05d}.dcm"


def _refuse_unfit_folder(place: Path) -> Path:
    place = place.absolute()
    if place.is_file():
        raise InputError(f"'{place}' is a file. A DICOM series needs a folder.")
    if place.is_dir() and any(place.iterdir()):
        raise InputError(f"The folder '{place}' is not empty. Choose a new or an empty folder.")
    refuse_unwritable_folder(place if place.is_dir() else place.parent)
    return place


def _refuse_unfit_voxels(volume: Volume) -> None:
    expected = np.uint8 if volume.is_colour else np.int16
    if volume.voxels.dtype != expected or (not volume.is_colour and volume.voxels.min() < 0):
        raise InputError(
            "Only a fused volume can be exported as a derived DICOM series: int16 from 0 to 4095, "
            "or 8-bit colour."
        )


def _move_into_place(partial: Path, place: Path) -> None:
    if place.is_dir():
        place.rmdir()
    partial.chmod(0o755)
    os.rename(partial, place)
    # The caller removes the temporary folder, which has to be there for that.
    partial.mkdir()


def _source_headers(metadata: Mapping[str, str]) -> list[Dataset]:
    """Headers, without pixels, of the DICOM files a volume came from."""
    import pydicom

    headers: list[Dataset] = []
    for file in _source_files(metadata):
        try:
            headers.append(pydicom.dcmread(file, stop_before_pixels=True))
        except (OSError, pydicom.errors.InvalidDicomError) as error:
            raise InputError(
                f"The source image '{file}' can no longer be read, so the derived series could not "
                "say where it comes from. Put it back, or export another format."
            ) from error
    return headers


def _source_files(metadata: Mapping[str, str]) -> Sequence[str]:
    if metadata.get("source_files"):
        return metadata["source_files"].splitlines()
    folder = Path(metadata.get("source") or "")
    if not metadata.get("series_uid") or not folder.is_dir():
        return []
    from MedFusionLib.volumes.dicom_series import list_series

    return list_series(folder).get(metadata["series_uid"], ())


def _at(references: list[Dataset], volume: Volume, index: int) -> list[Dataset]:
    """The reference's images in this slice; all of them where none lies in it."""
    normal = np.cross(volume.direction_matrix[:, 0], volume.direction_matrix[:, 1])
    place = normal @ _position(volume, index)
    near = [
        header
        for header in references
        if "ImagePositionPatient" in header
        and abs(normal @ np.array(header.ImagePositionPatient, float) - place)
        <= volume.spacing[2] / 2
    ]
    return near or references


def _position(volume: Volume, index: int) -> np.ndarray:
    """Centre (LPS, mm) of the first voxel of a slice."""
    return (volume.affine_lps @ [0, 0, index, 1])[:3]


def _shared_dataset(
    volume: Volume,
    metadata: Mapping[str, str],
    references: list[Dataset],
    report: Mapping[str, Any],
) -> Dataset:
    """What is the same in every image of the series."""
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    _copy_identity(dataset, metadata, references)
    now = datetime.now()
    for name in ("Series", "Content", "InstanceCreation"):
        setattr(dataset, f"{name}Date", now.strftime("%Y%m%d"))
        setattr(dataset, f"{name}Time", now.strftime("%H%M%S"))
    dataset.SeriesInstanceUID = generate_uid(prefix=None)
    dataset.SeriesNumber = 9000 + now.minute
    dataset.SeriesDescription = _series_description(report)
    dataset.Manufacturer = "MedFusion"
    dataset.ManufacturerModelName = "MedFusion"
    dataset.SoftwareVersions = str(report.get("version", ""))
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.DerivationDescription = derivation_description(report)
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    _set_plane(dataset, volume)
    if volume.is_colour:
        _set_secondary_capture(dataset)
    else:
        _set_mr_image(dataset)
    return dataset


def _copy_identity(
    dataset: Dataset, metadata: Mapping[str, str], references: list[Dataset]
) -> None:
    """Patient, study and frame of reference of the reference; new ones where it has none."""
    from pydicom.uid import generate_uid

    for keyword in _MAY_BE_EMPTY:
        setattr(dataset, keyword, "")
    if references:
        for keyword in _FROM_REFERENCE:
            if keyword in references[0]:
                setattr(dataset, keyword, references[0][keyword].value)
    known = {"StudyInstanceUID": "study_uid", "FrameOfReferenceUID": "frame_of_reference_uid"}
    for keyword, name in known.items():
        if keyword not in dataset:
            setattr(dataset, keyword, metadata.get(name) or generate_uid(prefix=None))


def _series_description(report: Mapping[str, Any]) -> str:
    modalities = " + ".join(report[role]["modality"] for role in ("reference", "other"))
    return f"MedFusion {report['method']}: {modalities}"[:64]


def derivation_description(report: Mapping[str, Any]) -> str:
    """How the images came to be, for a reader of the series; at most 1024 characters."""
    weights = report.get("weights_sha256")
    alignment = (report.get("transform") or {}).get("kind", "unknown")
    sentences = [
        f"Fused from {report['reference']['modality']} and {report['other']['modality']} images "
        f"slice by slice ({report.get('plane', 'axial')}) by MedFusion {report.get('version')}, "
        f"method {report['method']}",
        f"Weights SHA-256 {weights}" if weights else "Method without trained weights",
        f"Alignment: {alignment}",
        "Values are display intensities, neither Hounsfield units nor uptake",
        "Research use only, not for diagnosis",
    ]
    return (". ".join(sentences) + ".")[:1024]


def _set_plane(dataset: Dataset, volume: Volume) -> None:
    columns, rows, thickness = volume.spacing
    dataset.Rows, dataset.Columns = volume.grid_shape[1:]
    dataset.PixelSpacing = [_decimal(rows), _decimal(columns)]
    dataset.SliceThickness = _decimal(thickness)
    dataset.SpacingBetweenSlices = _decimal(thickness)
    directions = volume.direction_matrix
    dataset.ImageOrientationPatient = [
        _decimal(value) for value in (*directions[:, 0], *directions[:, 1])
    ]


def _decimal(value: float) -> Any:
    """A decimal string keeps as many digits as its 16 characters hold."""
    from pydicom.valuerep import DSfloat

    return DSfloat(float(value), auto_format=True)


def _set_mr_image(dataset: Dataset) -> None:
    dataset.SOPClassUID = MR_IMAGE_STORAGE
    dataset.Modality = "MR"
    # RM, research mode: no pulse sequence made these values.
    dataset.ScanningSequence = "RM"
    dataset.SequenceVariant = "NONE"
    for keyword in ("ScanOptions", "MRAcquisitionType", "EchoTime", "EchoTrainLength"):
        setattr(dataset, keyword, None)
    dataset.RepetitionTime = None
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, GREY_BITS, GREY_BITS - 1
    dataset.PixelRepresentation = 0
    largest = 2**GREY_BITS - 1
    dataset.WindowCenter, dataset.WindowWidth = _decimal((largest + 1) / 2), _decimal(largest + 1)


def _set_secondary_capture(dataset: Dataset) -> None:
    dataset.SOPClassUID = SECONDARY_CAPTURE_STORAGE
    dataset.Modality = "OT"
    dataset.ConversionType = "WSD"
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    orientation = dataset.ImageOrientationPatient
    dataset.PatientOrientation = [_letter(orientation[:3]), _letter(orientation[3:])]


def _letter(direction: Sequence[float]) -> str:
    """The patient's side to which a direction (LPS) mainly points."""
    axis = int(np.argmax(np.abs(direction)))
    return ("RAF", "LPH")[direction[axis] > 0][axis]


def _slice_dataset(
    shared: Dataset, volume: Volume, index: int, sources: Sequence[Dataset]
) -> Dataset:
    from copy import copy

    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    dataset = copy(shared)
    dataset.SOPInstanceUID = generate_uid(prefix=None)
    dataset.InstanceNumber = index + 1
    dataset.ImagePositionPatient = [_decimal(value) for value in _position(volume, index)]
    if sources:
        dataset.SourceImageSequence = [_reference_to(source) for source in sources]
    pixels = np.ascontiguousarray(volume.voxels[index])
    if not volume.is_colour:
        pixels = pixels.astype("<u2")
    data = pixels.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if volume.is_colour else "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _reference_to(source: Dataset) -> Dataset:
    """One source image, with its purpose (DICOM PS3.16, CID 7202)."""
    from pydicom.dataset import Dataset

    purpose = Dataset()
    purpose.CodeValue = "121322"
    purpose.CodingSchemeDesignator = "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [purpose]
    return reference
