"""The found transform as a DICOM Spatial Registration (REG).

DICOM PS3.3, C.20.2.1.1: each matrix takes points of the referenced images to the Registered RCS,
which is that of the object itself. Here that is the reference's frame of reference, so the other's
matrix is the inverse of the one that a fusion reports (reference space to other space).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.dicom_derived import (
    RESEARCH_ONLY,
    Sources,
    become_instance,
    code,
    decimals,
    image_reference,
    new_series,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SPATIAL_REGISTRATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.1"
REGISTRATION_SERIES = 9200
"""Series number, to which the minute is added."""
ROUNDING = 1e-6
"""How far a matrix may be off a rotation, or off a rotation times one scale, by rounding."""


def spatial_registration(
    sources: Sources, report: Mapping[str, Any], reference_to_other: np.ndarray
) -> Dataset:
    """The object that takes the other's images into the reference's frame of reference.

    ``reference_to_other`` (4, 4) takes points (LPS, mm) of the reference's space to the other's, as
    a fusion's report holds it. Raises ``InputError`` where it cannot be turned round.
    """
    dataset = new_series(sources, report, REGISTRATION_SERIES, " registration")
    dataset.SOPClassUID, dataset.Modality = SPATIAL_REGISTRATION_STORAGE, "REG"
    become_instance(dataset)
    dataset.InstanceNumber = 1
    dataset.ContentLabel = "REGISTRATION"
    dataset.ContentDescription = _description(report)
    dataset.ContentCreatorName = ""
    how = _how(report)
    dataset.RegistrationSequence = [
        _item(sources.references, np.eye(4), []),
        _item(sources.others, _inverse(reference_to_other), how),
    ]
    frames = [item.FrameOfReferenceUID for item in dataset.RegistrationSequence]
    if frames[0] == frames[1]:
        # Images of one frame that moved against each other are told apart by their UIDs alone.
        for item in dataset.RegistrationSequence:
            del item.FrameOfReferenceUID
    add_common_references(dataset, [*sources.references, *sources.others])
    return dataset


def matrix_type(matrix: np.ndarray) -> str:
    """RIGID, RIGID_SCALE or AFFINE, as DICOM calls what a (4, 4) matrix does."""
    linear = matrix[:3, :3]
    scale = np.cbrt(np.linalg.det(linear))
    if not np.allclose(linear.T @ linear, scale**2 * np.eye(3), rtol=0, atol=ROUNDING):
        return "AFFINE"
    return "RIGID" if abs(scale - 1) <= ROUNDING else "RIGID_SCALE"


def _description(report: Mapping[str, Any]) -> str:
    """At most 64 characters, which is what the standard leaves room for."""
    quality = (report.get("registration") or {}).get("quality") or {}
    verdict = f" {quality['verdict']}" if quality else ""
    return f"{report['transform']['kind']} alignment{verdict}. {RESEARCH_ONLY}"[:64]


def _how(report: Mapping[str, Any]) -> list[Dataset]:
    """DICOM PS3.16, CID 7100, where MedFusion itself has found the transform."""
    if not report.get("registration"):
        return []
    return [code("125024", "Image Content-based Alignment")]


def _inverse(matrix: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError as error:
        raise InputError("The transform squeezes space flat. Register again.") from error


def _item(images: Sequence[Dataset], matrix: np.ndarray, how: list[Dataset]) -> Dataset:
    from pydicom.dataset import Dataset

    step = Dataset()
    step.FrameOfReferenceTransformationMatrixType = matrix_type(matrix)
    step.FrameOfReferenceTransformationMatrix = decimals(matrix.ravel())
    registration = Dataset()
    registration.RegistrationTypeCodeSequence = how
    registration.MatrixSequence = [step]
    item = Dataset()
    item.FrameOfReferenceUID = images[0].get("FrameOfReferenceUID", "")
    item.ReferencedImageSequence = [image_reference(image) for image in images]
    item.MatrixRegistrationSequence = [registration]
    return item


def add_common_references(dataset: Dataset, images: Sequence[Dataset]) -> None:
    """Name the images by study and series (DICOM PS3.3, C.12.2)."""
    from pydicom.dataset import Dataset

    studies: dict[str, dict[str, list[Dataset]]] = {}
    for image in images:
        series = studies.setdefault(image.StudyInstanceUID, {})
        series.setdefault(image.SeriesInstanceUID, []).append(image_reference(image))
    own = studies.pop(dataset.StudyInstanceUID, {})
    if own:
        dataset.ReferencedSeriesSequence = _series_items(own)
    elsewhere = []
    for uid, series in studies.items():
        item = Dataset()
        item.StudyInstanceUID = uid
        item.ReferencedSeriesSequence = _series_items(series)
        elsewhere.append(item)
    if elsewhere:
        dataset.StudiesContainingOtherReferencedInstancesSequence = elsewhere


def _series_items(series: Mapping[str, list[Dataset]]) -> list[Dataset]:
    from pydicom.dataset import Dataset

    items = []
    for uid, instances in series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedInstanceSequence = instances
        items.append(item)
    return items
