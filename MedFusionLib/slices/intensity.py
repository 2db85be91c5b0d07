"""Windows: which stored values become 0 and 1. One window serves a whole volume.

A window per slice would make neighbouring slices flicker, so none is ever computed per slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.volume import Volume

CT_LEVEL_WIDTH = {"brain": (40.0, 80.0), "bone": (400.0, 2000.0)}
CT_FULL = (-1000.0, 3071.0)
"""Air to the top of a 12-bit scanner's scale, in Hounsfield units."""
SUV_RANGE = (0.0, 10.0)
HEAD_PERCENTILES = (1.0, 99.8)
MAXIMUM_SAMPLES = 4_000_000
"""Percentiles of larger volumes come from every n-th voxel along each axis."""
PRESETS = ("auto", "brain", "bone", "full", "percentile", "maximum", "suv", "8bit")


@dataclass(frozen=True)
class Window:
    """Stored values at and below ``low`` become 0, at and above ``high`` become 1."""

    low: float
    high: float
    name: str

    def to_unit(self, values: np.ndarray) -> np.ndarray:
        """float32 in [0, 1], of the values' shape."""
        scaled = (values.astype(np.float32) - np.float32(self.low)) / np.float32(
            self.high - self.low
        )
        return np.clip(scaled, 0.0, 1.0, out=scaled)


def choose_window(volume: Volume, wanted: str | tuple[float, float] | None = None) -> Window:
    """The window for a volume.

    ``wanted`` is a preset (``auto``, ``brain`` 40/80 HU, ``bone`` 400/2000 HU, ``full``,
    ``percentile`` 1 to 99.8 % inside the head, ``maximum`` 0 to the largest value, ``suv`` 0 to
    10, ``8bit`` 0 to 255), a pair (low, high), or the text ``"low:high"``. ``auto`` or None:
    8-bit volumes as they are, CT in full range, MR by percentiles, PET and SPECT by maximum.
    Raises ``InputError`` for a constant volume, for a window without width, and for ``suv`` where
    the volume has no factor (``metadata["suv_factor"]``, SUV per value).
    """
    if wanted is None or wanted == "auto":
        wanted = _default_preset(volume)
    window = _preset(volume, wanted) if wanted in PRESETS else _explicit(wanted)
    if not np.isfinite([window.low, window.high]).all() or window.high <= window.low:
        raise InputError(
            f"The window from {window.low:g} to {window.high:g} has no width. Give a low value "
            "that is smaller than the high one."
        )
    return window


def _default_preset(volume: Volume) -> str:
    if volume.voxels.dtype == np.uint8:
        return "8bit"
    by_modality = {"CT": "full", "MR": "percentile", "PET": "maximum", "SPECT": "maximum"}
    return by_modality.get(volume.modality, "full")


def _explicit(wanted: str | tuple[float, float]) -> Window:
    try:
        low, high = wanted.split(":") if isinstance(wanted, str) else wanted
        return Window(float(low), float(high), "given")
    except ValueError as error:
        raise InputError(
            f"'{wanted}' is not a window. Give low:high (such as 0:80) or one of: "
            f"{', '.join(PRESETS)}."
        ) from error


def _preset(volume: Volume, name: str | tuple[float, float]) -> Window:
    if name in CT_LEVEL_WIDTH:
        level, width = CT_LEVEL_WIDTH[str(name)]
        return Window(level - width / 2, level + width / 2, str(name))
    if name == "8bit":
        return Window(0.0, 255.0, "8bit")
    if name == "suv":
        return _suv_window(volume)
    smallest, largest = _range(volume)
    if name == "maximum":
        return Window(0.0, largest, "maximum")
    if name == "percentile":
        return _percentile_window(volume)
    if volume.modality == "CT":
        return Window(max(smallest, CT_FULL[0]), min(largest, CT_FULL[1]), "full")
    return Window(smallest, largest, "full")


def _suv_window(volume: Volume) -> Window:
    """0 to 10 SUV in the volume's values; refused where nobody knows what an SUV of 1 is there."""
    if "suv_factor" not in volume.metadata:
        reason = volume.metadata.get("suv_reason", "its file does not say so")
        raise InputError(
            f"It is not known how the values of the {volume.modality} volume become SUV: {reason}. "
            "Give the window as low:high in the volume's own values."
        )
    factor = float(volume.metadata["suv_factor"])
    return Window(SUV_RANGE[0] / factor, SUV_RANGE[1] / factor, "suv")


def _range(volume: Volume) -> tuple[float, float]:
    return float(volume.voxels.min()), float(volume.voxels.max())


def _percentile_window(volume: Volume) -> Window:
    """1st to 99.8th percentile inside the head, which keeps a few bright vessels from dimming
    the brain."""
    low, high = np.percentile(head_voxels(volume), HEAD_PERCENTILES)
    if high <= low:
        low, high = _range(volume)
    return Window(float(low), float(high), "percentile")


def head_voxels(volume: Volume) -> np.ndarray:
    """Values inside the head: above Otsu's threshold, with what they enclose filled in."""
    import SimpleITK

    step = max(1, int(np.ceil((np.prod(volume.grid_shape) / MAXIMUM_SAMPLES) ** (1 / 3))))
    sparse = np.ascontiguousarray(volume.voxels[::step, ::step, ::step])
    image = SimpleITK.GetImageFromArray(sparse.astype(np.float32))
    bright = SimpleITK.OtsuThreshold(image, 0, 1)
    head = SimpleITK.GetArrayFromImage(SimpleITK.BinaryFillhole(bright)).astype(bool)
    return sparse[head] if head.any() else sparse.ravel()
