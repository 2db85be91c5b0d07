"""Where each frame of a DICOM file lies in the patient, and what tells it from its neighbours.

A classic file holds one frame, an enhanced one says the place of each of its frames in functional
groups, nuclear medicine and dose files say that of the first frame and a rule for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.dicom_headers import Header
from MedFusionLib.volumes.dicom_values import (
    UNIT_TOLERANCE,
    as_number,
    as_numbers,
    as_text,
    nth_text,
    orientation_of,
    pixel_spacing_of,
    position_of,
    rescale_of,
    vector_of,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PROJECTIONS = ("TOMO", "GATED TOMO", "STATIC", "DYNAMIC", "GATED", "WHOLE BODY")
"""Kinds of nuclear medicine images (third value of the image type) that are no slices."""

# Name shown to the user: (functional group, keyword) of enhanced files; classic files have the name
# itself as a keyword. Slices that cover one region and differ in one of these are two stacks.
STACK_MARKS: dict[str, tuple[tuple[str, str], ...]] = {
    "StackID": (("FrameContentSequence", "StackID"),),
    "ImageType": (
        ("MRImageFrameTypeSequence", "FrameType"),
        ("CTImageFrameTypeSequence", "FrameType"),
        ("PETFrameTypeSequence", "FrameType"),
    ),
    "EchoTime": (("MREchoSequence", "EffectiveEchoTime"),),
    "EchoNumbers": (),
    "InversionTime": (("MRModifierSequence", "InversionTimes"),),
    "FlipAngle": (("MRTimingAndRelatedParametersSequence", "FlipAngle"),),
    "DiffusionBValue": (("MRDiffusionSequence", "DiffusionBValue"),),
    "TemporalPositionIndex": (("FrameContentSequence", "TemporalPositionIndex"),),
    "TemporalPositionIdentifier": (),
    "NominalCardiacTriggerDelayTime": (
        ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ),
    "KVP": (("CTXRayDetailsSequence", "KVP"),),
    "ConvolutionKernel": (("CTReconstructionSequence", "ConvolutionKernel"),),
    "FrameReferenceTime": (),
    "AcquisitionNumber": (("FrameContentSequence", "FrameAcquisitionNumber"),),
}
NM_VECTORS = (
    "EnergyWindowVector",
    "DetectorVector",
    "PhaseVector",
    "RRIntervalVector",
    "TimeSlotVector",
    "TimeSliceVector",
)
COLLISION_MARKS = ("TriggerTime", "AcquisitionTime", "DimensionIndex", "File")
"""These may differ from slice to slice of one volume; they count only where places collide."""


@dataclass(frozen=True)
class Frame:
    """One slice: its file, its number in it (from 0), its place and its scale."""

    header: Header
    number: int
    position: np.ndarray
    """Centre of the first pixel, LPS in mm."""
    orientation: np.ndarray
    """(2, 3): the unit vectors along a row and along a column, LPS."""
    pixel_spacing: tuple[float, float]
    """Between rows and between columns, in mm."""
    rescale: tuple[float, float] | None
    """Slope and intercept, None where the file has none."""
    marks: dict[str, str]
    note: str = ""
    """What a user should know of how the place was found."""

    @cached_property
    def normal(self) -> np.ndarray:
        return np.cross(self.orientation[0], self.orientation[1])

    @cached_property
    def place(self) -> float:
        """Millimetres along the normal."""
        return float(self.normal @ self.position)

    @property
    def instance(self) -> int | None:
        """The file's instance number; None where there is none, or where it counts files."""
        if self.header.text("NumberOfFrames") not in ("", "1"):
            return None
        try:
            return int(self.header.text("InstanceNumber"))
        except ValueError:
            return None


def frames_of(header: Header) -> list[Frame]:
    """The frames of a file, in the file's order.

    Raises ``InputError`` where the file does not say, or contradicts itself about, where its
    frames lie and how far their pixels lie apart.
    """
    try:
        return _frames_of(header)
    except InputError:
        raise
    except Exception as error:
        # pydicom turns bytes into a value where it is asked for, and names no common kind of error.
        raise InputError(
            f"The header of '{header.path}' holds a value that cannot be read ({error}). "
            "Export the series again."
        ) from error


def _frames_of(header: Header) -> list[Frame]:
    count = _number_of_frames(header)
    if "PerFrameFunctionalGroupsSequence" in header.dataset:
        return _enhanced_frames(header, count)
    if count == 1:
        return [_classic_frame(header)]
    return _stacked_frames(header, count)


def _number_of_frames(header: Header) -> int:
    text = header.text("NumberOfFrames") or "1"
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"'{header.path}' says that it has '{text}' frames. Export it again.")
    return int(text)


def _classic_frame(header: Header) -> Frame:
    dataset, plane = header.dataset, _first_plane(header)
    marks = {name: as_text(dataset.get(name)) for name in STACK_MARKS}
    marks |= {name: as_text(dataset.get(name)) for name in ("TriggerTime", "AcquisitionTime")}
    return Frame(
        header,
        0,
        position_of(header, plane.get("ImagePositionPatient")),
        orientation_of(header, plane.get("ImageOrientationPatient")),
        pixel_spacing_of(header, dataset.get("PixelSpacing")),
        rescale_of(header, dataset),
        marks,
    )


def _enhanced_frames(header: Header, count: int) -> list[Frame]:
    per_frame = header.dataset.PerFrameFunctionalGroupsSequence
    if len(per_frame) != count:
        raise InputError(
            f"'{header.path}' says that it has {count} frames and describes {len(per_frame)}. "
            "Export it again."
        )
    return [
        _enhanced_frame(header, _Groups(header.dataset, item), number)
        for number, item in enumerate(per_frame)
    ]


class _Groups:
    """The functional groups of one frame: its own come before those that all frames share."""

    def __init__(self, dataset: Dataset, own: Dataset) -> None:
        shared = dataset.get("SharedFunctionalGroupsSequence") or [None]
        self._places = [place for place in (own, shared[0]) if place is not None]

    def item(self, macro: str) -> Dataset | None:
        for place in self._places:
            items = place.get(macro)
            if items:
                return items[0]
        return None

    def value(self, macro: str, keyword: str) -> Any:
        item = self.item(macro)
        return None if item is None else item.get(keyword)


def _enhanced_frame(header: Header, groups: _Groups, number: int) -> Frame:
    transformation = groups.item("PixelValueTransformationSequence")
    return Frame(
        header,
        number,
        position_of(header, groups.value("PlanePositionSequence", "ImagePositionPatient")),
        orientation_of(header, groups.value("PlaneOrientationSequence", "ImageOrientationPatient")),
        pixel_spacing_of(header, groups.value("PixelMeasuresSequence", "PixelSpacing")),
        rescale_of(header, header.dataset if transformation is None else transformation),
        _enhanced_marks(header, groups),
    )


def _enhanced_marks(header: Header, groups: _Groups) -> dict[str, str]:
    marks = {}
    for name, places in STACK_MARKS.items():
        found = (as_text(groups.value(macro, keyword)) for macro, keyword in places)
        marks[name] = next((text for text in found if text), as_text(header.dataset.get(name)))
    marks["DimensionIndex"] = _dimension_index(header.dataset, groups)
    marks["File"] = header.path.name
    return marks


def _dimension_index(dataset: Dataset, groups: _Groups) -> str:
    """The frame's indices along all dimensions but those that count places."""
    values = groups.value("FrameContentSequence", "DimensionIndexValues")
    dimensions = dataset.get("DimensionIndexSequence") or []
    if values is None or not dimensions:
        return ""
    values = [values] if isinstance(values, int) else list(values)
    along = ("InStackPositionNumber", "ImagePositionPatient")
    kept = [
        str(value)
        for value, item in zip(values, dimensions, strict=False)
        if _keyword(item.get("DimensionIndexPointer")) not in along
    ]
    return "/".join(kept)


def _keyword(tag: Any) -> str:
    from pydicom.datadict import keyword_for_tag

    return "" if tag is None else keyword_for_tag(tag)


def _stacked_frames(header: Header, count: int) -> list[Frame]:
    """Frames of a file that says the place of the first one only."""
    dataset = header.dataset
    first = _first_plane(header)
    orientation = orientation_of(header, first.get("ImageOrientationPatient"))
    start = position_of(header, first.get("ImagePositionPatient"))
    normal = np.cross(orientation[0], orientation[1])
    offsets, note = _offsets(header, count, start, normal)
    spacing, scale = (
        pixel_spacing_of(header, dataset.get("PixelSpacing")),
        rescale_of(header, dataset),
    )
    marks = {name: as_text(dataset.get(name)) for name in STACK_MARKS} | {"File": header.path.name}
    return [
        Frame(
            header,
            number,
            start + offset * normal,
            orientation,
            spacing,
            scale,
            marks | {name: nth_text(dataset.get(name), number) for name in NM_VECTORS},
            note,
        )
        for number, offset in enumerate(offsets)
    ]


def _first_plane(header: Header) -> Dataset:
    """The data set that holds position and orientation: the file's own, or its first detector's."""
    detectors = header.dataset.get("DetectorInformationSequence")
    if "ImagePositionPatient" not in header.dataset and detectors:
        return detectors[0]
    return header.dataset


def _offsets(
    header: Header, count: int, start: np.ndarray, normal: np.ndarray
) -> tuple[np.ndarray, str]:
    """Millimetres of each frame from the first one along the normal, and what to know of it."""
    if header.is_dose:
        return _dose_offsets(header, count, start, normal), ""
    _refuse_other_frames(header)
    step, note = _frame_step(header)
    order = header.dataset.get("SliceVector")
    if order is None:
        return step * np.arange(count), note
    places = np.atleast_1d(np.asarray(order, float))
    if len(places) != count:
        raise InputError(f"'{header.path}' numbers {len(places)} of {count} slices. Export again.")
    return step * (places - places[0]), note


def _refuse_other_frames(header: Header) -> None:
    """Frames may be moments or angles instead of slices."""
    kind = as_text(header.dataset.get("ImageType")).split("/")[2:3]
    moving = any(
        len(set(vector_of(header, name))) > 1 for name in ("RotationVector", "AngularViewVector")
    )
    if header.is_nuclear and (moving or (kind and kind[0] in PROJECTIONS)):
        raise InputError(
            f"'{header.path}' holds projections or planar images "
            f"({kind[0] if kind else 'angles'}), no slices. Choose the reconstructed series."
        )
    pointer = header.dataset.get("FrameIncrementPointer")
    pointers = pointer if isinstance(pointer, Sequence) else [pointer]
    if any(
        _keyword(tag) in ("FrameTime", "FrameTimeVector") for tag in pointers if tag is not None
    ):
        raise InputError(f"'{header.path}' is a film: its frames are moments, no slices.")


def _frame_step(header: Header) -> tuple[float, str]:
    """Signed millimetres from a frame to the next along the normal.

    The sign is that of DICOM PS3.3 C.8.4.15: a negative spacing stacks against the normal.
    """
    between = as_number(header.dataset.get("SpacingBetweenSlices"))
    if between:
        return between, ""
    thickness = as_number(header.dataset.get("SliceThickness"))
    if thickness and thickness > 0:
        note = (
            f"The file does not say how far its slices lie apart; their thickness, "
            f"{thickness:g} mm, was taken for it."
        )
        return thickness, note
    raise InputError(
        f"'{header.path}' does not say how far its slices lie apart (neither spacing between "
        "slices nor slice thickness). Export the series again, one file a slice."
    )


def _dose_offsets(header: Header, count: int, start: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """DICOM PS3.3 C.8.8.3.2: relative to the first frame, or z in the patient."""
    offsets = as_numbers(header.dataset.get("GridFrameOffsetVector"), count)
    if offsets is not None:
        if offsets[0] == 0:
            return offsets
        if abs(offsets[0] - start[2]) < 1e-2 and abs(normal[2]) > 1 - UNIT_TOLERANCE:
            return (offsets - offsets[0]) * np.sign(normal[2])
    raise InputError(
        f"'{header.path}' does not say where the planes of its dose lie (grid frame offset "
        "vector). Export the dose again."
    )


def is_localizer(frame: Frame) -> bool:
    """Whether a frame is an overview for planning, which shares the series but not its grid."""
    return "LOCALIZER" in frame.marks.get("ImageType", "").split("/")[2:]


def all_frames(headers: Sequence[Header]) -> Iterator[Frame]:
    """The frames of several files, one file after the other."""
    for header in headers:
        yield from frames_of(header)
