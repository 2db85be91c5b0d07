"""Values of DICOM headers that have to be there and right, or the file is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.dicom_headers import Header

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

UNIT_TOLERANCE = 2e-3
"""Direction cosines are rounded in files; they may be off by this much."""


def as_text(value: Any) -> str:
    """A value as the user may type it: several ones with / between."""
    if value is None:
        return ""
    parts = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return "/".join(
        f"{part:.10g}" if isinstance(part, float) else str(part).strip() for part in parts
    )


def nth_text(values: Any, number: int) -> str:
    if values is None:
        return ""
    many = list(values) if isinstance(values, Sequence) else [values]
    return str(many[number]) if number < len(many) else ""


def as_number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def as_numbers(value: Any, count: int) -> np.ndarray | None:
    """Exactly so many finite numbers, or None."""
    if value is None or isinstance(value, str) or not isinstance(value, Sequence):
        return None
    numbers = [as_number(part) for part in value]
    if len(numbers) != count or None in numbers:
        return None
    return np.array(numbers, float)


def position_of(header: Header, value: Any) -> np.ndarray:
    position = as_numbers(value, 3)
    if position is None:
        raise InputError(_no_place(header))
    return position


def orientation_of(header: Header, value: Any) -> np.ndarray:
    """Unit vectors along a row and a column, at right angles; rounded ones are put right."""
    numbers = as_numbers(value, 6)
    if numbers is None:
        raise InputError(_no_place(header))
    row, column = numbers.reshape(2, 3)
    products = np.array([row @ row - 1, column @ column - 1, row @ column])
    if np.abs(products).max() > 2 * UNIT_TOLERANCE:
        raise InputError(
            f"'{header.path}' gives directions of rows and columns that are no unit vectors at "
            "right angles. Export the series again."
        )
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    return np.stack([row, column / np.linalg.norm(column)])


def _no_place(header: Header) -> str:
    return (
        f"'{header.path}' does not say where its slice lies (no image position and orientation). "
        "Export the series again."
    )


def pixel_spacing_of(header: Header, value: Any) -> tuple[float, float]:
    numbers = as_numbers(value, 2)
    if numbers is not None and (numbers > 0).all():
        return float(numbers[0]), float(numbers[1])
    other = next(
        (
            name
            for name in ("ImagerPixelSpacing", "NominalScannedPixelSpacing")
            if header.dataset.get(name)
        ),
        None,
    )
    hint = (
        f" Its {other} is a distance at the detector or the scanner, not in the patient."
        if other
        else ""
    )
    raise InputError(
        f"'{header.path}' does not say how far its pixels lie apart (pixel spacing is missing, "
        f"empty or zero).{hint} Export the series again from its scanner or archive."
    )


def rescale_of(header: Header, place: Dataset) -> tuple[float, float] | None:
    """Slope and intercept; the dose's scaling is a slope, too."""
    if "ModalityLUTSequence" in header.dataset:
        raise InputError(
            f"'{header.path}' gives its values by a table (modality LUT), which MedFusion does not "
            "read. Export the series with a slope and an intercept."
        )
    if header.is_dose:
        return _positive_scaling(header, place), 0.0
    given = [as_text(place.get(name)) for name in ("RescaleSlope", "RescaleIntercept")]
    if not any(given):
        return None
    slope, intercept = (as_number(text) for text in given)
    if not slope or intercept is None:
        raise InputError(
            f"'{header.path}' gives no usable scale of its values (rescale slope '{given[0]}', "
            f"intercept '{given[1]}'). Export the series again."
        )
    return slope, intercept


def _positive_scaling(header: Header, place: Dataset) -> float:
    scaling = as_number(place.get("DoseGridScaling"))
    if scaling is None or scaling <= 0:
        raise InputError(
            f"'{header.path}' gives no usable scale of its values (dose grid scaling). Export the "
            "dose again."
        )
    return scaling


def vector_of(header: Header, name: str) -> list[Any]:
    value = header.dataset.get(name)
    if value is None:
        return []
    return list(value) if isinstance(value, Sequence) else [value]
