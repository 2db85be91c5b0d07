"""The values of DICOM frames: decoded, scaled, and with the padding turned into background."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.dicom_frames import Frame
from MedFusionLib.volumes.dicom_headers import Header

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
END_OF_IMAGE = b"\xff\xd9"
"""The last bytes of every JPEG, JPEG-LS and JPEG 2000 stream."""
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
    texts = {name: header.text(name) for name in names}
    fits = all(text.isdigit() for text in texts.values()) and texts["SamplesPerPixel"] in "13"
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
    if not kind:
        raise InputError(
            f"'{header.path}' does not say whether it is grey or colour. Export again."
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
        limits = _padding_limits(header.dataset)
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


def _padding_limits(dataset: Dataset) -> tuple[int, int] | None:
    """Stored values from and to which pixels are padding (DICOM PS3.3 C.7.5.1.1.2)."""
    value = dataset.get("PixelPaddingValue")
    if value is None or value == "":
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = [_as_stored(end, dataset) for end in (value, value if limit in (None, "") else limit)]
    return min(ends), max(ends)


def _as_stored(value: object, dataset: Dataset) -> int:
    """Some files write a negative padding value as the unsigned number of the same bits."""
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)  # type: ignore[call-overload]
    low, high = stored_range(dataset)
    allocated = int(dataset.BitsAllocated)
    if low < 0 and number > high:
        number -= 1 << allocated
    return number + (1 << allocated) if low == 0 and number < 0 else number


def stored_frames(header: Header, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    """The stored values of some frames of a file, one after the other: (J, I) or (J, I, 3).

    pydicom reads what is not compressed and RLE; GDCM, as part of SimpleITK, decodes the JPEG
    family, so that the same values come out wherever MedFusion runs.
    """
    import pydicom

    try:
        dataset = pydicom.dcmread(header.path, force=True)
        _give_transfer_syntax(dataset)
        yield from _decoded_frames(dataset, numbers)
    except InputError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # decoders name no common kind for what damaged bytes cause
        reason = str(error).strip().splitlines()
        raise InputError(
            f"The pixels of '{header.path}' cannot be read: the file is truncated or damaged, or "
            f"compressed in an unknown way ({reason[-1] if reason else type(error).__name__}). "
            "Export the series again, uncompressed."
        ) from error


def _give_transfer_syntax(dataset: Dataset) -> None:
    """Files without a preamble do not name the order of their bytes; it shows in the elements."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        )


def _decoded_frames(dataset: Dataset, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    from pydicom.pixels import iter_pixels
    from pydicom.uid import RLELossless

    syntax = dataset.file_meta.TransferSyntaxUID
    if int(dataset.BitsAllocated) == 1:
        raise InputError(
            f"'{dataset.filename}' is a label map of one bit a pixel, not an image. Choose an MR, "
            "CT, PET or SPECT."
        )
    if syntax.is_encapsulated and syntax != RLELossless:
        frames = (_decoded_by_gdcm(dataset, number) for number in numbers)
    else:
        frames = (
            array if array.dtype.kind == "f" or array.ndim == 3 else _used_bits(array, dataset)
            for array in iter_pixels(dataset, indices=list(numbers))
        )
    for array in frames:
        yield _in_colour(array, dataset)


def _used_bits(array: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Without the bits that hold overlays or nothing, and with the sign of the highest one."""
    bits, high = int(dataset.BitsStored), int(dataset.HighBit)
    allocated = int(dataset.BitsAllocated)
    if bits == allocated:
        return array
    signed = bool(dataset.PixelRepresentation)
    unsigned = array.view(f"{array.dtype.byteorder}u{array.itemsize}")
    # Up to the top, and down again: the right shift of a signed number fills in its sign.
    shifted = unsigned << (allocated - 1 - high)
    return (shifted.view(array.dtype) if signed else shifted) >> (allocated - bits)


def _in_colour(array: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Indices of a palette as 8-bit colours; other arrays as they are."""
    from pydicom.pixels import apply_color_lut

    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        array = apply_color_lut(array, dataset)[..., :3]
    if array.ndim == 3 and array.dtype != np.uint8:
        if array.dtype != np.uint16:
            raise InputError(f"'{dataset.filename}' holds colours of an unknown depth. Use 8 bits.")
        array = (array >> (int(array.itemsize) * 8 - 8)).astype(np.uint8)
    return array


def _decoded_by_gdcm(dataset: Dataset, number: int) -> np.ndarray:
    """One compressed frame, by way of a file that holds nothing else.

    The file has no slope, so that the stored values come back and each frame's own scale can be
    applied here.
    """
    import SimpleITK
    from pydicom.encaps import get_frame

    count = int(dataset.get("NumberOfFrames") or 1)
    stream = get_frame(dataset.PixelData, number, number_of_frames=count)
    if not stream.rstrip(b"\0").endswith(END_OF_IMAGE):
        raise InputError(f"'{dataset.filename}' is truncated: a compressed frame has no end.")
    with tempfile.TemporaryDirectory(prefix="medfusion-") as folder:
        path = Path(folder) / "frame.dcm"
        _bare_image(dataset, stream).save_as(path, enforce_file_format=True)
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(path))
        reader.SetImageIO("GDCMImageIO")
        return SimpleITK.GetArrayFromImage(reader.Execute())[0]


def _bare_image(dataset: Dataset, stream: bytes) -> Dataset:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, generate_uid

    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = UID(SECONDARY_CAPTURE)
    image.SOPInstanceUID = generate_uid(prefix=None)
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    for keyword in (
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "SamplesPerPixel",
        "PlanarConfiguration",
    ):
        if keyword in dataset:
            setattr(image, keyword, dataset[keyword].value)
    kind = str(dataset.PhotometricInterpretation)
    image.PhotometricInterpretation = kind if int(dataset.SamplesPerPixel) == 3 else "MONOCHROME2"
    image.PixelData = encapsulate([stream])
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    return image
