"""The values of DICOM frames: scaled, and with the padding turned into background."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.dicom_decoding import stored_frames
from MedFusionLib.volumes.dicom_frames import Frame
from MedFusionLib.volumes.dicom_headers import Header

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
COLOURED = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
MEASURED = {"CT": "Hounsfield units", "PT": "uptake", "NM": "counts", "RTDOSE": "dose"}
"""Modalities whose values mean something whatever grey they are shown in."""


def voxels_of(stack: Sequence[Frame]) -> np.ndarray:
    """(K, J, I) or (K, J, I, 3): the values of a stack's frames, in its order.

    Each frame's own slope and intercept are applied. Integers stay integers (uint8, int16, uint16
    or int32, what all frames may hold), else float32. Pixels that the file calls padding take the
    smallest value that was measured. Raises ``InputError`` for pixels that cannot be decoded.
    """
    headers = [header for header, _ in _places_by_header(stack)]
    for header in headers:
        _refuse_unknown_layout(header)
    _refuse_mixed_meaning(headers, stack)
    colour = _is_colour(headers)
    shape = (len(stack), int(headers[0].dataset.Rows), int(headers[0].dataset.Columns))
    voxels = np.empty((*shape, 3) if colour else shape, np.uint8 if colour else _voxel_type(stack))
    padding = Padding(voxels)
    for header, places in _places_by_header(stack):
        numbers = [stack[index].number for index in places]
        for index, stored in zip(places, stored_frames(header, numbers), strict=True):
            _refuse_other_size(stored, voxels[index], header)
            if not colour:
                padding.note(index, stored, header)
                stored = _scaled(stored, stack[index], voxels.dtype)
            voxels[index] = stored
    padding.fill()
    return voxels


def _places_by_header(stack: Sequence[Frame]) -> list[tuple[Header, list[int]]]:
    """Each file and the places of its frames in the stack."""
    found: dict[int, tuple[Header, list[int]]] = {}
    for index, frame in enumerate(stack):
        found.setdefault(id(frame.header), (frame.header, []))[1].append(index)
    return list(found.values())


def _refuse_unknown_layout(header: Header) -> None:
    """Bits that contradict each other would be read as other values."""
    names = ["Rows", "Columns", "SamplesPerPixel", "BitsAllocated"]
    if not _is_float(header):
        names += ["BitsStored", "HighBit", "PixelRepresentation"]
    kind = _photometric(header)
    texts = {name: header.text(name) for name in names}
    samples = "1" if kind in GREY else "3"
    fits = all(text.isdigit() for text in texts.values()) and texts["SamplesPerPixel"] == samples
    if fits and not _is_float(header):
        stored, high = int(texts["BitsStored"]), int(texts["HighBit"])
        fits = 1 <= stored <= high + 1 <= int(texts["BitsAllocated"]) <= 32
    if not fits:
        shown = ", ".join(f"{name} {text or 'missing'}" for name, text in texts.items())
        raise InputError(
            f"'{header.path}' does not tell how its pixels are stored ({shown}). Export the series "
            "again."
        )


def _is_colour(headers: Sequence[Header]) -> bool:
    kinds = {_photometric(header) for header in headers}
    colour = {kind for kind in kinds if not kind.startswith("MONOCHROME")}
    if colour and len(kinds) > 1:
        raise InputError(
            f"'{headers[0].path.parent}' mixes slices of different kinds of grey and colour "
            f"({', '.join(sorted(kinds))}). Export one kind alone."
        )
    return bool(colour)


def _photometric(header: Header) -> str:
    kind = header.text("PhotometricInterpretation")
    if kind not in (*GREY, *COLOURED):
        raise InputError(
            f"'{header.path}' does not say whether it is grey or colour in a way that MedFusion "
            f"knows ('{kind}'). Export the series again."
        )
    return kind


def _refuse_mixed_meaning(headers: Sequence[Header], stack: Sequence[Frame]) -> None:
    """All slices of a volume must mean the same by their numbers."""
    for keyword, words in (
        ("Modality", "modalities"),
        ("PhotometricInterpretation", "photometric interpretations"),
        ("RescaleType", "kinds of values"),
        ("Units", "units"),
        ("FrameOfReferenceUID", "frames of reference"),
        ("PatientID", "patients"),
    ):
        texts = sorted({header.text(keyword) for header in headers})
        if len(texts) > 1:
            shown = ", ".join(text or "none" for text in texts)
            raise InputError(
                f"The slices of one series in '{headers[0].path.parent}' have different {words}: "
                f"{shown}. Export them as series of their own."
            )
    if len({frame.rescale is None for frame in stack}) > 1:
        raise InputError(
            f"Some slices in '{headers[0].path.parent}' give a scale of their values (rescale "
            "slope and intercept) and some do not. Export the series again."
        )
    modality = headers[0].text("Modality")
    if _photometric(headers[0]) == "MONOCHROME1" and modality in MEASURED:
        raise InputError(
            f"'{headers[0].path}' is to be shown inverted (MONOCHROME1), so it is not certain that "
            f"its values are {MEASURED[modality]}. Export it as MONOCHROME2."
        )


def _voxel_type(stack: Sequence[Frame]) -> np.dtype:
    """The smallest of the usual types that holds whatever the frames' bits and scales may give."""
    low, high = 0.0, 0.0
    bits = {int(frame.header.dataset.BitsAllocated) for frame in stack}
    for frame in stack:
        slope, intercept = frame.rescale or (1.0, 0.0)
        if _is_float(frame.header) or slope != int(slope) or intercept != int(intercept):
            return np.dtype(np.float32)
        ends = [slope * end + intercept for end in stored_range(frame.header.dataset)]
        low, high = min(low, *ends), max(high, *ends)
    if bits == {8} and low >= 0 and high <= 255:
        return np.dtype(np.uint8)
    for kind in (np.int16, np.uint16, np.int32):
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return np.dtype(kind)
    return np.dtype(np.float32)


def _is_float(header: Header) -> bool:
    return (
        header.text("SOPClassUID") == PARAMETRIC_MAP and "PixelRepresentation" not in header.dataset
    )


def stored_range(dataset: Dataset) -> tuple[int, int]:
    """The smallest and the largest value that the stored bits can hold."""
    bits = int(dataset.BitsStored)
    if int(dataset.PixelRepresentation or 0):
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1


def _refuse_other_size(stored: np.ndarray, place: np.ndarray, header: Header) -> None:
    if stored.shape != place.shape:
        raise InputError(
            f"The pixels of '{header.path}' have the shape {stored.shape}, and its header or the "
            f"other slices say {place.shape}. Export the series again."
        )


def _scaled(stored: np.ndarray, frame: Frame, dtype: np.dtype) -> np.ndarray:
    """Values in real units; a stored scale that runs from white to black is turned round."""
    slope, intercept = frame.rescale or (1.0, 0.0)
    if _photometric(frame.header) == "MONOCHROME1":
        low, high = stored_range(frame.header.dataset)
        stored = (low + high) - stored.astype(np.int64)
    if (slope, intercept) == (1.0, 0.0):
        return stored
    if dtype.kind == "f":
        return stored * np.float64(slope) + intercept
    return stored.astype(np.int64) * int(slope) + int(intercept)


class Padding:
    """Pixels outside the field of view, which files mark by a value of their own.

    Noted one bit a pixel while the slices are read, and filled once the smallest measured value
    of the whole volume is known.
    """

    def __init__(self, voxels: np.ndarray) -> None:
        self._voxels = voxels
        self._bits: dict[int, np.ndarray] = {}

    def note(self, index: int, stored: np.ndarray, header: Header) -> None:
        """Remember which pixels of a slice are padding."""
        limits = _padding_limits(header)
        if limits is None:
            return
        inside = (stored >= limits[0]) & (stored <= limits[1])
        if inside.any():
            self._bits[index] = np.packbits(inside)

    def fill(self) -> None:
        """Give padding the smallest measured value, where it is not a natural zero below that."""
        if not self._bits:
            return
        measured = [self._voxels[index][~self._mask(index)] for index in range(len(self._voxels))]
        smallest = min((values.min() for values in measured if values.size), default=None)
        if smallest is None:
            return
        for index in self._bits:
            mask = self._mask(index)
            values = self._voxels[index][mask]
            natural = (values >= 0) & (values <= smallest)
            self._voxels[index][mask] = np.where(natural, values, smallest)

    def _mask(self, index: int) -> np.ndarray:
        shape = self._voxels.shape[1:3]
        if index not in self._bits:
            return np.zeros(shape, bool)
        return (
            np.unpackbits(self._bits[index], count=shape[0] * shape[1]).reshape(shape).astype(bool)
        )


def _padding_limits(header: Header) -> tuple[int, int] | None:
    """Stored values from and to which pixels are padding (DICOM PS3.3 C.7.5.1.1.2)."""
    dataset = header.dataset
    try:
        value, limit = (
            dataset.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")
        )
        if value in (None, ""):
            return None
        ends = [
            _as_stored(end, dataset) for end in (value, value if limit in (None, "") else limit)
        ]
    except Exception as error:  # pydicom names no common kind for values that are no values
        raise InputError(
            f"'{header.path}' gives a padding value that cannot be read. Export the series again."
        ) from error
    return min(ends), max(ends)


def _as_stored(value: object, dataset: Dataset) -> int:
    """Some files write a negative padding value as the unsigned number of the same bits."""
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)  # type: ignore[call-overload]
    low, high = stored_range(dataset)
    allocated = int(dataset.BitsAllocated)
    if low < 0 and number > high:
        number -= 1 << allocated
    return number + (1 << allocated) if low == 0 and number < 0 else number
