"""How much of bone and uptake a reader finds again in one fused volume."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from MedFusionLib.evaluation.legibility import bone, uptake
from MedFusionLib.slices import colour as colours
from MedFusionLib.slices.intensity import Window
from MedFusionLib.slices.painting import FUNCTIONAL, GREY_MAXIMUM
from MedFusionLib.slices.stack import slice_stack
from MedFusionLib.volumes.volume import Volume


def legibility_figures(
    reference: Volume,
    other: Volume,
    fused: Volume,
    report: Mapping[str, Any],
    places: Sequence[int],
) -> dict[str, float | None]:
    """Means over the slices at ``places`` of the fusion's stack; null where nothing can be read.

    ``other`` is the aligned one and ``report`` that of the fusion. ``bone_kept``: share of the CT's
    bone that is shown with at least 0.9 of its grey value (see `legibility.bone`).
    ``uptake_readable``: Spearman's correlation, -1 to 1, between the uptake and what is read back
    from the fused colours, mean of the thirds of its range (see `legibility.uptake`).
    """
    modality = report["other"]["modality"]
    if other.is_colour or modality not in ("CT", *FUNCTIONAL):
        return {}
    window = Window(**report["other"]["window"])
    stacks = [
        slice_stack(voxels, reference.direction_matrix, report["plane"])
        for voxels in (other.voxels, fused.voxels)
    ]
    pairs = [(stacks[0][place], stacks[1][place]) for place in places]
    if modality == "CT":
        return {"bone_kept": _mean(_bone_kept(*pair, window) for pair in pairs)}
    if not fused.is_colour:
        return {}
    table = uptake.map_table(report["colour"])
    return {"uptake_readable": _mean(_readable(*pair, window, table) for pair in pairs)}


def _bone_kept(ct: np.ndarray, fused: np.ndarray, window: Window) -> float:
    shown = colours.luminance(fused / 255) if fused.ndim == 3 else fused / GREY_MAXIMUM
    measured = bone.bone_kept(shown, window.to_unit(ct), ct > bone.BONE_HOUNSFIELD)
    return measured["bone_kept"]


def _readable(other: np.ndarray, fused: np.ndarray, window: Window, table: np.ndarray) -> float:
    read = uptake.read_uptake(fused / 255, table, np.linspace(0, 1, len(table)))
    measured = uptake.uptake_measures(read, window.to_unit(other))
    return _finite_mean([measured[f"uptake_correlation_{third}"] for third in uptake.THIRDS])


def _mean(values: Iterable[float]) -> float | None:
    mean = _finite_mean(list(values))
    return mean if math.isfinite(mean) else None


def _finite_mean(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan
