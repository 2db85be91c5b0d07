"""The stored values of DICOM frames, whatever they are compressed with."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.dicom_headers import Header
from MedFusionLib.volumes.hushed import hushed

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
END_OF_IMAGE = b"\xff\xd9"
"""The last bytes of every JPEG, JPEG-LS and JPEG 2000 stream."""


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
        _refuse_more_pixels(dataset)
        frames = (
            array if array.dtype.kind == "f" or array.ndim == 3 else _used_bits(array, dataset)
            for array in iter_pixels(dataset, indices=list(numbers), correct_unused_bits=False)
        )
    for array in frames:
        yield _in_colour(array, dataset)


def _refuse_more_pixels(dataset: Dataset) -> None:
    """A row or column more than the header tells means that it is wrong; a padded end does not."""
    from pydicom.uid import RLELossless

    if dataset.file_meta.TransferSyntaxUID == RLELossless or "PixelData" not in dataset:
        return
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    pixel = int(dataset.SamplesPerPixel) * int(dataset.BitsAllocated) // 8
    told = rows * columns * pixel * int(dataset.get("NumberOfFrames") or 1)
    if len(dataset.PixelData) - told >= min(rows, columns) * pixel:
        raise InputError(
            f"'{dataset.filename}' holds more pixels than its rows and columns tell. Export the "
            "series again."
        )


def _used_bits(array: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Without the bits that hold overlays or nothing, and with the sign of the highest one.

    Raises ``InputError`` where the other bits hold something that no overlay accounts for: the file
    may be wrong about how many bits its values have.
    """
    bits, high = int(dataset.BitsStored), int(dataset.HighBit)
    allocated = int(dataset.BitsAllocated)
    if bits == allocated:
        return array
    signed = bool(dataset.PixelRepresentation)
    unsigned = array.view(f"{array.dtype.byteorder}u{array.itemsize}")
    # Up to the top, and down again: the right shift of a signed number fills in its sign.
    shifted = unsigned << (allocated - 1 - high)
    values = (shifted.view(array.dtype) if signed else shifted) >> (allocated - bits)
    if not _has_overlays(dataset) and np.any(values << (high + 1 - bits) != array):
        raise InputError(
            f"'{dataset.filename}' holds values of more than the {bits} bits that its header "
            "tells. Export the series again."
        )
    return values


def _has_overlays(dataset: Dataset) -> bool:
    """Whether the bits above the values may hold overlays (groups 6000 to 60FF)."""
    return any((group, 0x0102) in dataset for group in range(0x6000, 0x6100, 2))


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
        with hushed() as printed:
            pixels = SimpleITK.GetArrayFromImage(reader.Execute())[0]
            complaint = printed().strip()
    if complaint:  # the JPEG library fills what a damaged stream lacks, and only prints that it did
        raise ValueError(complaint)
    return pixels


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
