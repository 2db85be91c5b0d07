"""Which files of a folder are DICOM images, and their headers without the pixels."""

from __future__ import annotations

import filecmp
import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from MedFusionLib.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
NUCLEAR = ("1.2.840.10008.5.1.4.1.1.20", "1.2.840.10008.5.1.4.1.1.5")
_PRIVATE_BLOCKS = range(0x10, 0x20)
_KEYWORDS_BY_PURPOSE = {
    "who, and what kind of image": """
        SOPClassUID SOPInstanceUID SeriesInstanceUID StudyInstanceUID FrameOfReferenceUID Modality
        SeriesDescription StudyDate PatientID PatientName PatientBirthDate PatientSex
        PatientIdentityRemoved SpecificCharacterSet ImageType InstanceNumber LossyImageCompression
    """,
    "where the slices lie": """
        ImagePositionPatient ImageOrientationPatient PixelSpacing ImagerPixelSpacing
        NominalScannedPixelSpacing SliceThickness SpacingBetweenSlices NumberOfFrames NumberOfSlices
        FrameIncrementPointer GridFrameOffsetVector DetectorInformationSequence SliceVector
        SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence DimensionIndexSequence
    """,
    "what the pixels mean": """
        Rows Columns SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit
        PixelRepresentation RescaleSlope RescaleIntercept RescaleType ModalityLUTSequence
        PixelPaddingValue PixelPaddingRangeLimit DoseGridScaling DoseUnits
    """,
    "what tells two stacks of one series apart": """
        AcquisitionNumber EchoTime EchoNumbers InversionTime FlipAngle DiffusionBValue
        TemporalPositionIdentifier TemporalPositionIndex TriggerTime AcquisitionDate AcquisitionTime
        KVP ConvolutionKernel EnergyWindowVector DetectorVector PhaseVector RotationVector
        RRIntervalVector TimeSlotVector AngularViewVector TimeSliceVector
    """,
    "uptake": """
        Units SUVType DecayCorrection CorrectedImage PatientWeight SeriesDate SeriesTime
        FrameReferenceTime ActualFrameDuration RadiopharmaceuticalInformationSequence
    """,
}
KEYWORDS = [word for text in _KEYWORDS_BY_PURPOSE.values() for word in text.split()]
_PRIVATE = [
    group << 16 | element
    for block in _PRIVATE_BLOCKS
    for group, element in (
        (0x7053, block),
        (0x7053, block << 8),
        (0x7053, block << 8 | 0x09),
        (0x0009, block),
        (0x0009, block << 8 | 0x0D),
    )
]


@cache
def _read_tags() -> list[int]:
    """Elements that are kept of a header; the rest of a long one would only take memory."""
    from pydicom.datadict import tag_for_keyword

    known = (tag_for_keyword(word) for word in KEYWORDS)
    return [*(tag for tag in known if tag is not None), *_PRIVATE]


@dataclass(frozen=True)
class Header:
    """One file's header, without its pixels."""

    path: Path
    dataset: Dataset

    def text(self, keyword: str) -> str:
        """A value as text, empty where it is missing or is not what its kind of value may be."""
        try:
            value = self.dataset.get(keyword)
        except Exception:  # pydicom names no common kind for values that are no values
            return ""
        return "" if value is None else str(value).strip()

    @property
    def is_dose(self) -> bool:
        """Whether it is a dose of radiotherapy, by either of the two fields that tell."""
        return self.text("SOPClassUID") == DOSE or self.text("Modality") == "RTDOSE"

    @property
    def is_nuclear(self) -> bool:
        """Whether it is an image of nuclear medicine, by either of the two fields that tell."""
        return self.text("SOPClassUID") in NUCLEAR or self.text("Modality") == "NM"


@dataclass
class DicomFolder:
    """The images of a folder by series, and the names of the files that gave none."""

    series: dict[str, list[Header]] = field(default_factory=dict)
    no_dicom: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    """Broken links and files that cannot be opened; nobody knows what they are."""

    def warnings(self) -> list[str]:
        """What a user should know of the files that were left out."""
        told = []
        if self.unreadable:
            told.append(f"Left out, because they cannot be opened: {_names(self.unreadable)}.")
        if self.no_dicom:
            told.append(f"Left out, because they are no DICOM files: {_names(self.no_dicom)}.")
        return told


def _names(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Values that break a rule of DICOM are checked where they are used, and told there."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def scan_folder(folder: Path) -> DicomFolder:
    """Read the headers of all files that lie in a folder (not in folders below it).

    Raises ``InputError`` for a DICOM file whose header is damaged: it may be one of the slices.
    """
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    return scan_files(
        [Path(one.path) for one in entries if not (one.is_dir() or one.name.startswith("."))]
    )


def scan_files(files: Iterable[Path]) -> DicomFolder:
    """Read the headers of these files, wherever they lie; raises as ``scan_folder``."""
    found = DicomFolder()
    instances: dict[str, Header] = {}
    for path in files:
        try:
            header = read_header(path)
        except OSError:
            found.unreadable.append(path.name)
            continue
        if header is None:
            found.no_dicom.append(path.name)
        elif "Rows" in header.dataset and not _is_copy(header, instances):
            found.series.setdefault(header.text("SeriesInstanceUID"), []).append(header)
    return found


def _is_copy(header: Header, instances: dict[str, Header]) -> bool:
    """Whether the same image was met before; it is kept in ``instances``.

    Raises ``InputError`` for two different files that are said to be the same image.
    """
    known = instances.setdefault(header.text("SOPInstanceUID") or header.path.name, header)
    if known is header:
        return False
    if filecmp.cmp(known.path, header.path, shallow=False):
        return True
    raise InputError(
        f"'{known.path.name}' and '{header.path.name}' in '{header.path.parent}' are said to be "
        "the same image and differ. Export the series again."
    )


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its mark or, in old files without one, by its elements."""
    try:
        return _marked(path) or (_looks_unmarked(path) and read_header(path) is not None)
    except OSError:
        return False


def _marked(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _looks_unmarked(path: Path) -> bool:
    """Files without a preamble begin with their first element, of group 0002 or 0008."""
    with path.open("rb") as file:
        start = file.read(4)
    return start[:2] in (b"\x02\x00", b"\x08\x00") and start[3:] == b"\x00"


def read_header(path: Path) -> Header | None:
    """A DICOM file's header; None for a file that is no DICOM, and for a DICOMDIR.

    Raises ``OSError`` where the file cannot be opened, ``InputError`` where it is damaged.
    """
    import pydicom

    marked = _marked(path)
    if not marked and not _looks_unmarked(path):
        return None
    try:
        dataset = pydicom.dcmread(
            path, stop_before_pixels=True, force=True, specific_tags=_read_tags()
        )
        series = str(dataset.get("SeriesInstanceUID") or "")
        meta = getattr(dataset, "file_meta", None) or {}
        directory = meta.get("MediaStorageSOPClassUID") == MEDIA_DIRECTORY
    except OSError:
        raise
    except Exception as error:  # pydicom names no common kind for what damaged bytes cause
        if not marked:
            return None
        raise InputError(_damaged(path)) from error
    if series:
        return Header(path, dataset)
    if marked and not directory:
        raise InputError(_damaged(path))
    return None


def _damaged(path: Path) -> str:
    return (
        f"'{path}' is a DICOM file whose header is damaged or cut off. Export the series again, "
        "or move the file away if it belongs to another one."
    )
