"""The fused volume as a derived DICOM series that says what it is.

Slicer's own exporter would call a fused volume an original acquisition. This one writes
DERIVED\\SECONDARY images that name the method, its weights and their source images, in the
reference's study and frame of reference. Grey volumes become MR images of 16 bits, colour volumes
become true-colour secondary captures with the position of each slice; one file a slice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.outputs import refuse_unwritable_folder, together
from MedFusionLib.volumes.dicom_derived import (
    RESEARCH_ONLY,
    Sources,
    become_instance,
    code,
    decimal,
    decimals,
    image_reference,
    new_series,
    read_sources,
    source_modalities,
)
from MedFusionLib.volumes.dicom_grid import refuse_elsewhere, right_handed
from MedFusionLib.volumes.synthetic import METADATA, WORD
from MedFusionLib.volumes.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE_STORAGE = "1.2.840.10008.5.1.4.1.1.7"
GREY_BITS = 12
"""Fused grey values run from 0 to 4095; they are stored in 16 bits."""
FUSED_SERIES, COLOUR_SERIES = 9000, 9100
"""Series numbers, to which the minute is added."""


def export_dicom(
    volume: Volume,
    reference_metadata: Mapping[str, str],
    report: Mapping[str, Any],
    folder: str | os.PathLike[str],
    other_metadata: Mapping[str, str] | None = None,
    further_metadata: Iterable[Mapping[str, str]] = (),
) -> list[Path]:
    """Write a fused volume (int16 0 … 4095, or uint8 RGB) as a DICOM series; its files in order.

    The metadata are those of the sources. Where they name
    DICOM files (``source_files``, one path a line, or the folder ``source`` with ``series_uid``)
    patient, study and frame of reference come from the reference's files and every source image is
    referenced; else ``study_uid`` and ``frame_of_reference_uid`` are taken if they are there, and
    the patient stays empty. ``report`` is the fusion's. The folder has to be new or empty and is
    filled as a whole or not at all. Raises ``InputError`` otherwise, and ``GeometryError`` for a
    volume that does not lie where the reference's images lie.
    """
    place = _refuse_unfit_folder(Path(folder))
    refuse_unfit_voxels(volume)
    sources = read_sources(reference_metadata, other_metadata, further_metadata)
    refuse_elsewhere(volume.affine_lps, volume.grid_shape, sources.references, "fused")
    with together() as outputs:
        names = write_series(volume, sources, report, outputs.folder(place))
    return [place / name for name in names]


def write_series(
    volume: Volume, sources: Sources, report: Mapping[str, Any], folder: Path, name: str = ""
) -> list[str]:
    """Fill a folder with the series of a fused volume; the files' names in order.

    The slices are numbered along their normal, whichever way the volume counts them. ``name`` is
    added to the series description.
    """
    volume = right_handed(volume)
    shared = _shared_dataset(volume, sources, report, name)
    names = [f"IM{index + 1:05d}.dcm" for index in range(volume.grid_shape[0])]
    for index, file in enumerate(names):
        images = [*_at(sources.references, volume, index), *sources.others]
        dataset = _slice_dataset(shared, volume, index, images)
        dataset.save_as(folder / file, enforce_file_format=True)
    return names


def _refuse_unfit_folder(place: Path) -> Path:
    place = place.absolute()
    if place.is_file():
        raise InputError(f"'{place}' is a file. A DICOM series needs a folder.")
    if place.is_dir() and any(place.iterdir()):
        raise InputError(f"The folder '{place}' is not empty. Choose a new or an empty folder.")
    refuse_unwritable_folder(place if place.is_dir() else place.parent)
    return place


def refuse_unfit_voxels(volume: Volume) -> None:
    """Raise ``InputError`` unless the voxels are those of a fusion."""
    expected = np.uint8 if volume.is_colour else np.int16
    outside = not volume.is_colour and (
        volume.voxels.min() < 0 or volume.voxels.max() >= 2**GREY_BITS
    )
    if volume.voxels.dtype != expected or outside:
        raise InputError(
            "Only a fused volume can be exported as a derived DICOM series: int16 from 0 to 4095, "
            "or 8-bit colour."
        )


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
    volume: Volume, sources: Sources, report: Mapping[str, Any], name: str
) -> Dataset:
    """What is the same in every image of the series."""
    number = COLOUR_SERIES if volume.is_colour else FUSED_SERIES
    dataset = new_series(sources, report, number, name)
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


def derivation_description(report: Mapping[str, Any]) -> str:
    """How the images came to be, for a reader of the series; at most 1024 characters."""
    weights = report.get("weights_sha256")
    placed = (report, *report.get("further", ()))
    kinds = [(one.get("transform") or {}).get("kind", "unknown") for one in placed]
    sentences = [
        f"{_how(report)} slice by slice ({_plane(report)}) by MedFusion "
        f"{report.get('version')}, method {report['method']}",
        f"Weights SHA-256 {weights}" if weights else "Method without trained weights",
        f"Alignment: {', '.join(kinds)}",
        *_finer_grid(report.get("grid")),
        "Values are display intensities, neither Hounsfield units nor uptake",
        RESEARCH_ONLY,
    ]
    return (". ".join(sentences) + ".")[:1024]


def _how(report: Mapping[str, Any]) -> str:
    if METADATA in report:
        return f"{WORD} images, in whole or in part not acquired: {report[METADATA]}, made up"
    *first, last = source_modalities(report)
    return f"Fused from {', '.join(first)} and {last} images"


def _plane(report: Mapping[str, Any]) -> str:
    return "all three planes" if report.get("planes") == "three" else report.get("plane", "axial")


def _finer_grid(grid: Mapping[str, Any] | None) -> list[str]:
    """That the images lie on a finer grid than was measured, if they do."""
    return [f"Grid: {grid['text']}. {grid['sentence'].rstrip('.')}"] if grid else []


def _set_plane(dataset: Dataset, volume: Volume) -> None:
    columns, rows, thickness = volume.spacing
    dataset.Rows, dataset.Columns = volume.grid_shape[1:]
    dataset.PixelSpacing = decimals((rows, columns))
    dataset.SliceThickness = decimal(thickness)
    dataset.SpacingBetweenSlices = decimal(thickness)
    directions = volume.direction_matrix
    dataset.ImageOrientationPatient = decimals((*directions[:, 0], *directions[:, 1]))


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
    # One scaling for the whole volume: what is stored is what is meant.
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.WindowCenter, dataset.WindowWidth = decimal((largest + 1) / 2), decimal(largest + 1)


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

    dataset = copy(shared)
    become_instance(dataset)
    dataset.InstanceNumber = index + 1
    dataset.ImagePositionPatient = decimals(_position(volume, index))
    if sources:
        dataset.SourceImageSequence = [_source_reference(source) for source in sources]
    pixels = np.ascontiguousarray(volume.voxels[index])
    if not volume.is_colour:
        pixels = pixels.astype("<u2")
    data = pixels.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if volume.is_colour else "OW"
    return dataset


def _source_reference(source: Dataset) -> Dataset:
    """One source image, with its purpose (DICOM PS3.16, CID 7202)."""
    reference = image_reference(source)
    purpose = code("121322", "Source image for image processing operation")
    reference.PurposeOfReferenceCodeSequence = [purpose]
    return reference
