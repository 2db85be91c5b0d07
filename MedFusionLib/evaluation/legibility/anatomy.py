"""Edges of the MR in the fused picture."""

from __future__ import annotations

import math

import numpy as np
import scipy.ndimage

from MedFusionLib.evaluation.legibility.transfer import LOST

EDGE_PERCENTILE = 90.0
SMOOTHING = 1.0
"""σ in pixels of the Gaussian whose derivatives are the gradients."""
HEAD = 0.02
"""Pixels where a source is above this are inside the head, with what they enclose."""


def head(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """bool (H, W): where a source shows something, holes filled."""
    return scipy.ndimage.binary_fill_holes(np.maximum(reference, other) > HEAD)


def edges_kept(fused: np.ndarray, reference: np.ndarray, inside: np.ndarray) -> float:
    """Share of the MR's edges that the fused slice keeps with the right sign; (H, W) each.

    An edge is a pixel of ``inside`` whose gradient is above the 90th percentile there. It is kept
    if the fused slice rises in the same direction by at least a fifth as much. Nan without edges.
    """
    of_fused, of_reference = _gradient(fused), _gradient(reference)
    squared = np.square(of_reference).sum(axis=0)
    if not inside.any():
        return math.nan
    edges = inside & (squared > np.percentile(squared[inside], EDGE_PERCENTILE))
    if not edges.any():
        return math.nan
    along = (of_fused * of_reference).sum(axis=0)
    return float((along[edges] >= LOST * squared[edges]).mean())


def _gradient(image: np.ndarray) -> np.ndarray:
    """(2, H, W): slopes along rows and columns."""
    orders = ((1, 0), (0, 1))
    return np.stack([scipy.ndimage.gaussian_filter(image, SMOOTHING, order) for order in orders])
