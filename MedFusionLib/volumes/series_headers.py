"""What one image's header tells of its series, as fields of ``SeriesFacts``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedFusionLib.volumes.dicom_headers import quiet_pydicom

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAKER = "medfusion"
"""The manufacturer of what MedFusion exports, in lower case."""
KEYWORDS = (
    *("ImageType", "Manufacturer", "ContrastBolusAgent", "MRAcquisitionType", "SamplesPerPixel"),
    *("SliceThickness", "SpacingBetweenSlices", "NumberOfFrames", "Rows", "Columns"),
    *("PixelSpacing", "CorrectedImage", "SeriesType"),
)


def header_facts(path: Path) -> dict[str, Any]:
    """Fields of ``SeriesFacts`` by name; none for a file that is gone or is no DICOM image.

    ``shape`` has as many slices as the file has frames, 1 for a single one.
    """
    import pydicom

    try:
        with quiet_pydicom():
            return _facts(
                pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(KEYWORDS))
            )
    except (OSError, pydicom.errors.InvalidDicomError):
        return {}


def _facts(header: Dataset) -> dict[str, Any]:
    columns_and_rows = [_number(value) for value in _values(header, "PixelSpacing")] or [0.0]
    step = _number(_text(header, "SpacingBetweenSlices")) or _number(
        _text(header, "SliceThickness")
    )
    counts = (_text(header, keyword) for keyword in ("NumberOfFrames", "Rows", "Columns"))
    frames, rows, columns = (int(_number(text)) for text in counts)
    maker = _text(header, "Manufacturer")
    return {
        "image_type": _values(header, "ImageType"),
        "manufacturer": maker,
        "contrast_agent": _text(header, "ContrastBolusAgent"),
        "acquisition": _text(header, "MRAcquisitionType"),
        "corrections": _values(header, "CorrectedImage"),
        "series_type": _values(header, "SeriesType"),
        "shape": (max(frames, 1), rows, columns),
        "spacing": (columns_and_rows[-1], columns_and_rows[0], step),
        "is_fused": maker.lower() == MAKER,
        "is_colour": _number(_text(header, "SamplesPerPixel")) > 1,
    }


def _values(header: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of a field as texts; none where it is missing or is not what it may be."""
    try:
        found = header.get(keyword)
    except Exception:  # pydicom names no common kind for values that are no values
        return ()
    if found is None or found == "":
        return ()
    several = found if not isinstance(found, str) and hasattr(found, "__iter__") else [found]
    return tuple(str(value).strip() for value in several)


def _text(header: Dataset, keyword: str) -> str:
    return "\\".join(_values(header, keyword))


def _number(text: str) -> float:
    try:
        return abs(float(text))
    except ValueError:
        return 0.0
