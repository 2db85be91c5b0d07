"""Uptake that is read back from the fused colour alone.

Luminance belongs to the anatomy, so a reader of the colours has hue and colourfulness: where a
colour lies in the plane of Cb and Cr (ITU-R BT.601), away from grey. The uptake is the entry of the
colour map that lies nearest there.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.spatial
import scipy.stats

from MedFusionLib.slices import colour as colours

TABLE_SIZE = 1024
THIRDS = {"low": (0.0, 1 / 3), "middle": (1 / 3, 2 / 3), "high": (2 / 3, 1.0)}
BACKGROUND = 5 / 255
"""Uptake up to this is none."""
FEWEST_PIXELS = 50
"""With fewer pixels in a third of the range, nothing is said of it."""


def map_table(name: str) -> np.ndarray:
    """RGB (1024, 3) in [0, 1] of a colour map, from uptake 0 to 1."""
    return colours.apply_colour_map(np.linspace(0, 1, TABLE_SIZE, dtype=np.float32), name)


def read_uptake(picture: np.ndarray, table: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Uptake (…) read from RGB (…, 3) in [0, 1]; ``values`` are those of the table's colours."""
    tree = scipy.spatial.cKDTree(_plane(table))
    _, nearest = tree.query(_plane(picture).reshape(-1, 2))
    return values[nearest].reshape(picture.shape[:-1])


def uptake_measures(read: np.ndarray, uptake: np.ndarray) -> dict[str, float]:
    """Spearman's correlation and mean absolute error in each third of the range; nan for too few.

    `uptake_correlation_low`, `…_middle`, `…_high` and `uptake_error_low` and so on, over the pixels
    whose true uptake lies in that third and is above the background. Nan also for a third whose
    true uptake is one value; a reading of one value has the correlation 0.
    """
    measures = {}
    for name, (least, most) in THIRDS.items():
        here = (uptake > max(least, BACKGROUND)) & (uptake <= most)
        enough = np.count_nonzero(here) >= FEWEST_PIXELS
        measures[f"uptake_correlation_{name}"] = (
            _correlation(read[here], uptake[here]) if enough else math.nan
        )
        measures[f"uptake_error_{name}"] = (
            float(np.abs(read[here] - uptake[here]).mean()) if enough else math.nan
        )
    return measures


def _correlation(read: np.ndarray, true: np.ndarray) -> float:
    if np.ptp(true) == 0:
        return math.nan
    if np.ptp(read) == 0:
        return 0.0
    return float(scipy.stats.spearmanr(read, true).statistic)


def palette_of(pictures: np.ndarray) -> np.ndarray:
    """RGB (C, 3) in [0, 1] of the colours in a source's own pictures (…, 3), from none to most.

    Every step goes to the nearest colour not used yet, from black on: a palette runs through its
    colours without jumps. For pictures that were stored without loss.
    """
    left = np.unique(pictures.reshape(-1, 3), axis=0).astype(np.float64)
    ordered = [np.zeros(3)]
    left = left[left.any(axis=1)]
    while len(left):
        nearest = int(np.square(left - ordered[-1]).sum(axis=1).argmin())
        ordered.append(left[nearest])
        left = np.delete(left, nearest, axis=0)
    return np.array(ordered, np.float32)


def _plane(rgb: np.ndarray) -> np.ndarray:
    """Cb and Cr (…, 2), without the error of float32, which would tell greys apart."""
    return np.round(colours.rgb_to_ycbcr(rgb)[..., 1:], 5)
