"""Colour maps of functional images, and RGB ↔ YCbCr (ITU-R BT.601, full range).

All functions take and give float32 arrays with the three components last, in [0, 1] for RGB
and luminance, in [-0.5, 0.5] for the two chrominances.
"""

from __future__ import annotations

import functools

import numpy as np

from MedFusionLib.errors import InputError

LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
TO_YCBCR = np.array(
    [
        LUMINANCE,
        [-0.299 / 1.772, -0.587 / 1.772, 0.5],
        [0.5, -0.587 / 1.402, -0.114 / 1.402],
    ],
    dtype=np.float32,
)
"""ITU-R BT.601-7, full range: Cb = (B − Y) / 1.772, Cr = (R − Y) / 1.402."""
TO_RGB = np.linalg.inv(TO_YCBCR.astype(np.float64)).astype(np.float32)

# Rows: place in [0, 1], red, green, blue; straight lines between them.
_STOPS = {
    # Ends in pale yellow where the usual map ends in white: white has no hue, and the highest
    # uptake would look like anatomy wherever the fused luminance is lower.
    "hot": [(0, 0, 0, 0), (3 / 8, 1, 0, 0), (6 / 8, 1, 1, 0), (1, 1, 1, 0.6)],
    "rainbow": [
        (0, 0, 0, 0),
        (0.1, 0, 0, 1),
        (0.325, 0, 1, 1),
        (0.55, 0, 1, 0),
        (0.775, 1, 1, 0),
        (1, 1, 0, 0),
    ],
    # DICOM PS3.6 annex B, the PET palette, by its corner points.
    "pet-dicom": [
        (0, 0, 0, 0),
        (63 / 255, 0, 0.502, 0.490),
        (128 / 255, 0.502, 0, 1),
        (192 / 255, 1, 0.502, 0),
        (1, 1, 1, 1),
    ],
    "grey": [(0, 0, 0, 0), (1, 1, 1, 1)],
}
COLOUR_MAPS = tuple(_STOPS)
TABLE_SIZE = 4096


def apply_colour_map(values: np.ndarray, name: str) -> np.ndarray:
    """RGB (…, 3) of values in [0, 1]. Every map gives black for 0."""
    if name not in _STOPS:
        raise InputError(f"There is no colour map '{name}'. Choose one of: {', '.join(_STOPS)}.")
    return _table(name)[np.rint(values * (TABLE_SIZE - 1)).astype(np.intp)]


@functools.cache
def _table(name: str) -> np.ndarray:
    """(4096, 3): a map sampled finely enough for 8-bit results, which is 5 times as fast as
    interpolating each voxel."""
    stops = np.array(_STOPS[name])
    places = np.linspace(0, 1, TABLE_SIZE)
    channels = [np.interp(places, stops[:, 0], stops[:, channel]) for channel in (1, 2, 3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def rgb_to_ycbcr(rgb: np.ndarray) -> np.ndarray:
    """Luminance and the two chrominances (…, 3) of RGB in [0, 1]."""
    return rgb.astype(np.float32, copy=False) @ TO_YCBCR.T


def ycbcr_to_rgb(ycbcr: np.ndarray) -> np.ndarray:
    """RGB (…, 3); outside [0, 1] where the three values name no colour."""
    return ycbcr @ TO_RGB.T


def luminance(rgb: np.ndarray) -> np.ndarray:
    """Luminance (…) in [0, 1] of RGB (…, 3) in [0, 1]."""
    return rgb.astype(np.float32, copy=False) @ LUMINANCE


def recolour(fused: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """RGB with the luminance of ``fused`` (…) and the chrominance of ``rgb`` (…, 3).

    Where that colour would leave the RGB cube, its chrominance is scaled down just enough:
    cutting single channels off would change the hue, and hue is what a reader of a functional
    image reads.
    """
    # Chrominance, seen from RGB, is how far the colour lies from the grey of its luminance.
    deviation = rgb - luminance(rgb)[..., None]
    base = fused[..., None].astype(np.float32, copy=False)
    room = np.where(deviation > 0, 1 - base, base)
    size = np.abs(deviation)
    share = (room / np.maximum(size, room + 1e-12)).min(axis=-1, keepdims=True)
    return np.clip(base + share * deviation, 0, 1)
