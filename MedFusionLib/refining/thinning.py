"""Slices left out of a thin stack, or averaged to thick ones: what can be refined and judged."""

from __future__ import annotations

import numpy as np


def thinning(count: int, factor: int, averaged: bool) -> np.ndarray:
    """(coarse, count) float32: from ``count`` thin slices to every ``factor``-th of them.

    ``averaged``: each is as thick as their distance. The outermost thin slices then count half if
    the factor is even, so that the thick one is centred on a thin one. Else the slices stay thin,
    with gaps.
    """
    centres = np.arange(0, count, factor)
    away = np.abs(np.arange(count) - centres[:, np.newaxis])
    weights = np.clip(factor / 2 + 0.5 - away, 0, 1) if averaged else away == 0
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
