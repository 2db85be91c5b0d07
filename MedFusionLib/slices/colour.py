"""Colour maps of functional images, and RGB ↔ YCbCr (ITU-R BT.601, full range).

All functions take and give float32 arrays with the three components last, in [0, 1] for RGB
and luminance, in [-0.5, 0.5] for the two chrominances.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.slices.colour_tables import RAINFOREST

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
    # One hue each, for two functional volumes in one picture, and of one luminance, so that neither
    # looks stronger. Their mean is violet: no third volume, and no anatomy, looks like that.
    "red": [(0, 0, 0, 0), (1, 1, 0.34, 0.2)],
    "blue": [(0, 0, 0, 0), (1, 0.44, 0.47, 1)],
}
_TABLES = {"rainforest": RAINFOREST}
COLOUR_MAPS = (*_TABLES, *_STOPS)
TOLD_APART = ("red", "blue")
"""The maps of two functional volumes in one picture, of the first and of the second."""
FUNCTIONAL_MAP = "rainforest"
"""Shows PET and SPECT unless another one is chosen; docs/COLOUR.md says why."""
TABLE_SIZE = 4096
KEPT_CHROMINANCE = 0.75
"""Least share of a colour's chrominance that is left when it is laid on another luminance. The rest
may yield to the anatomy: uptake is still read back to 0.03 of its range from what is left."""


def apply_colour_map(values: np.ndarray, name: str) -> np.ndarray:
    """RGB (…, 3) of values in [0, 1]. Every map gives black for 0."""
    if name not in COLOUR_MAPS:
        known = ", ".join(COLOUR_MAPS)
        raise InputError(f"There is no colour map '{name}'. Choose one of: {known}.")
    return _table(name)[np.rint(values * (TABLE_SIZE - 1)).astype(np.intp)]


@functools.cache
def _table(name: str) -> np.ndarray:
    """(4096, 3): a map sampled finely enough for 8-bit results, which is 5 times as fast as
    interpolating each voxel."""
    stops = _stops(_TABLES[name]) if name in _TABLES else np.array(_STOPS[name])
    places = np.linspace(0, 1, TABLE_SIZE)
    channels = [np.interp(places, stops[:, 0], stops[:, channel]) for channel in (1, 2, 3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def _stops(table: str) -> np.ndarray:
    """The colours of a table of `colour_tables` as evenly spaced stops."""
    rgb = np.frombuffer(bytes.fromhex(table), np.uint8).reshape(-1, 3) / 255
    return np.column_stack([np.linspace(0, 1, len(rgb)), rgb])


def rgb_to_ycbcr(rgb: np.ndarray) -> np.ndarray:
    """Luminance and the two chrominances (…, 3) of RGB in [0, 1]."""
    return rgb.astype(np.float32, copy=False) @ TO_YCBCR.T


def ycbcr_to_rgb(ycbcr: np.ndarray) -> np.ndarray:
    """RGB (…, 3); outside [0, 1] where the three values name no colour."""
    return ycbcr @ TO_RGB.T


def luminance(rgb: np.ndarray) -> np.ndarray:
    """Luminance (…) in [0, 1] of RGB (…, 3) in [0, 1]."""
    return rgb.astype(np.float32, copy=False) @ LUMINANCE


def light_of(images: np.ndarray) -> np.ndarray:
    """Luminance of RGB slices (N, H, W, 3); grey ones (N, H, W) as they are."""
    return luminance(images) if images.ndim == 4 else images


def mixed(layers: Sequence[np.ndarray]) -> np.ndarray:
    """One RGB image (…, 3) of several that are laid on each other, black where all are.

    The hue is the mean of theirs, weighted by their luminances; the luminance is that of the
    brightest. One image alone, or beside black ones, stays as it is.
    """
    if len(layers) == 1:
        return layers[0]
    together = np.stack(layers).sum(axis=0, dtype=np.float32)
    brightest = np.max([luminance(layer) for layer in layers], axis=0)
    share = brightest / np.maximum(luminance(together), np.float32(1e-9))
    return np.clip(share[..., None] * together, 0, 1)


def recolour(fused: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """``rgb`` (…, 3), in its own hue and saturation, with the luminance of ``fused`` (…).

    Uptake is read from the colour, so where the RGB cube has no such colour of that luminance, the
    chrominance shrinks, but never below `KEPT_CHROMINANCE` of what it was; from there on the
    luminance yields: it comes as near to the fused one as the cube allows. Continuous in both
    arguments; grey stays grey, and a colour that has the fused luminance already stays as it is.
    """
    fused = fused.astype(np.float32, copy=False)
    own = luminance(rgb)
    above = _extreme(np.maximum, rgb) - own
    below = own - _extreme(np.minimum, rgb)
    tiny = np.float32(1e-9)
    # The share of the chrominance with which the fused luminance fits into the cube.
    share = np.minimum((1 - fused) / np.maximum(above, tiny), fused / np.maximum(below, tiny))
    share = np.clip(share, np.float32(KEPT_CHROMINANCE), 1)
    shown = np.minimum(np.maximum(fused, share * below), 1 - share * above)
    result = rgb - own[..., None]
    result *= share[..., None]
    result += shown[..., None]
    return np.clip(result, 0, 1, out=result)


def _extreme(choose: np.ufunc, rgb: np.ndarray) -> np.ndarray:
    """Largest or smallest channel; ten times as fast as reducing an axis of three."""
    return choose(choose(rgb[..., 0], rgb[..., 1]), rgb[..., 2])
