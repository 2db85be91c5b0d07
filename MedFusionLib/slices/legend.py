"""What the colours of a fused image stand for: a scale from the lowest uptake shown to the highest.

It needs no more than a fusion's report, so that pages, pictures and Slicer show the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from MedFusionLib.slices.colour import apply_colour_map
from MedFusionLib.slices.intensity import Window
from MedFusionLib.volumes.volume import Volume

TICKS = 5
STORED = "stored values"


@dataclass(frozen=True)
class Legend:
    """A colour map and the uptake at its two ends, in ``unit``."""

    colour_map: str
    low: float
    high: float
    unit: str
    modality: str = ""
    """Of the volume whose uptake it tells."""

    def labels(self) -> list[str]:
        """Uptake at `TICKS` places evenly along the map, from its low end on."""
        return [f"{value:.3g}" for value in np.linspace(self.low, self.high, TICKS)]

    def colours(self, count: int) -> np.ndarray:
        """RGB (count, 3) in [0, 1], from the low end of the map to the high one."""
        return apply_colour_map(np.linspace(0, 1, count, dtype=np.float32), self.colour_map)


def legend_of(report: Mapping[str, Any]) -> Legend | None:
    """The legend of a `FusionResult.report`, the first if there are two; None for grey, and for a
    volume in its own colours, whose scale nobody knows."""
    return next(iter(legends_of(report)), None)


def legends_of(report: Mapping[str, Any]) -> list[Legend]:
    """The legends of all volumes that are shown in a colour map."""
    return [
        _legend(other)
        for other in described_others(report)
        if other["colour"] not in ("grey", "own")
    ]


def described_others(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a `FusionResult.report` says of each other volume, with the ``colour`` of each."""
    return [{"colour": report["colour"], **report["other"]}, *report.get("further", ())]


def _legend(other: Mapping[str, Any]) -> Legend:
    window = Window(**other["window"])
    factor = other.get("suv_factor") or 1.0
    unit = other.get("unit", STORED)
    return Legend(
        other["colour"], window.low * factor, window.high * factor, unit, other.get("modality", "")
    )


def scale_of(volume: Volume) -> dict[str, Any]:
    """For the report: in what ``unit`` a volume's values are told, and what takes them to it.

    SUV where the header tells the ``suv_factor``, counts for a SPECT volume, else stored values;
    8-bit voxels were scaled by somebody.
    """
    factor = volume.metadata.get("suv_factor")
    if factor is not None:
        return {"unit": "SUV", "suv_factor": float(factor)}
    counted = volume.modality == "SPECT" and volume.voxels.dtype != np.uint8
    return {"unit": "counts" if counted else STORED, "suv_factor": None}
