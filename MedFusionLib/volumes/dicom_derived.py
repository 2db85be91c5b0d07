"""What all derived DICOM objects share: whose they are, what they were made from, and their files.

One `Sources` serves everything that is written of one fusion, so that its series, its registration
and its presentation state lie in one study and one frame of reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedFusionLib.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

RESEARCH_ONLY = "Research use only, not for diagnosis"
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
    "PatientPosition",
)


@dataclass(frozen=True)
class Sources:
    """Headers, without pixels, of the images that a volume was fused from; empty lists where it
    did not come from DICOM."""

    references: list[Dataset]
    others: list[Dataset]
    metadata: Mapping[str, str]
    """The reference's."""
    made: datetime

    @cached_property
    def identity(self) -> Dataset:
        """Patient, study and frame of reference of the reference; new ones where it has none."""
        from pydicom.dataset import Dataset
        from pydicom.uid import generate_uid

        dataset = Dataset()
        dataset.SpecificCharacterSet = "ISO_IR 192"
        for keyword in _MAY_BE_EMPTY:
            setattr(dataset, keyword, "")
        if self.references:
            for keyword in _FROM_REFERENCE:
                if self.references[0].get(keyword):
                    setattr(dataset, keyword, self.references[0][keyword].value)
        # Of a body part that is not one of a pair, as the head, there is no side to be unknown.
        if not dataset.get("BodyPartExamined") and "Laterality" not in dataset:
            dataset.Laterality = ""
        known = {"StudyInstanceUID": "study_uid", "FrameOfReferenceUID": "frame_of_reference_uid"}
        for keyword, name in known.items():
            if not dataset.get(keyword):
                setattr(dataset, keyword, self.metadata.get(name) or generate_uid(prefix=None))
        return dataset


def read_sources(
    reference_metadata: Mapping[str, str],
    other_metadata: Mapping[str, str] | None,
    further_metadata: Iterable[Mapping[str, str]] = (),
) -> Sources:
    """The sources that the metadata of the volumes name.

    They are named by ``source_files`` (one path a line), or by the folder ``source`` with
    ``series_uid``. Raises ``InputError`` for a file that can no longer be read.
    """
    return Sources(
        _source_headers(reference_metadata),
        [
            header
            for metadata in (other_metadata or {}, *further_metadata)
            for header in _source_headers(metadata)
        ],
        reference_metadata,
        datetime.now(),
    )


def _source_headers(metadata: Mapping[str, str]) -> list[Dataset]:
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


def new_series(sources: Sources, report: Mapping[str, Any], number: int, name: str = "") -> Dataset:
    """What every object of a new series in the reference's study begins with.

    The minute is added to the series number, and ``name`` to the series' description.
    """
    from pydicom.uid import generate_uid

    dataset = deepcopy(sources.identity)
    for what in ("Series", "Content", "InstanceCreation"):
        setattr(dataset, f"{what}Date", sources.made.strftime("%Y%m%d"))
        setattr(dataset, f"{what}Time", sources.made.strftime("%H%M%S"))
    dataset.SeriesInstanceUID = generate_uid(prefix=None)
    dataset.SeriesNumber = number + sources.made.minute
    dataset.SeriesDescription = _series_description(report, name)
    dataset.Manufacturer = "MedFusion"
    dataset.ManufacturerModelName = "MedFusion"
    dataset.SoftwareVersions = str(report.get("version", ""))
    return dataset


def _series_description(report: Mapping[str, Any], addition: str) -> str:
    """Method and modalities; at most 64 characters."""
    modalities = " + ".join(source_modalities(report))
    return f"MedFusion {report['method']}: {modalities}{addition}"[:64]


def source_modalities(report: Mapping[str, Any]) -> list[str]:
    """Of the reference and of all other volumes of a fusion."""
    sources = (report["reference"], report["other"], *report.get("further", ()))
    return [source["modality"] for source in sources]


def become_instance(dataset: Dataset) -> None:
    """Give a dataset of a SOP class a UID of its own, and what its file begins with."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    dataset.SOPInstanceUID = generate_uid(prefix=None)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID


def image_reference(source: Dataset) -> Dataset:
    """One image by class and instance (DICOM PS3.3, table 10-11)."""
    from pydicom.dataset import Dataset

    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return reference


def code(value: str, meaning: str) -> Dataset:
    """A code of DICOM's own vocabulary."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def decimal(value: float) -> Any:
    """A decimal string keeps as many digits as its 16 characters hold."""
    from pydicom.valuerep import DSfloat

    return DSfloat(float(value), auto_format=True)


def decimals(values: Iterable[float]) -> list[Any]:
    """Several decimal strings."""
    return [decimal(value) for value in values]
