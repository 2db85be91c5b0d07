"""The colour scale of a fusion as a part of its page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from MedFusionLib.slices.colour import recolour
from MedFusionLib.slices.legend import Legend, legends_of

STYLE = """.legend { width: 32em; }
.legend div { height: 1.2em; }
.legend p { display: flex; justify-content: space-between; margin: 0.2em 0 1em; }"""
STOPS = 33
GROUNDS = {"dark": 0.25, "grey": 0.5, "bright": 0.75}
"""Luminances of anatomy that the scale is also shown on."""


def legend_section(report: Mapping[str, Any]) -> str:
    """The colour scales of a `FusionResult.report`, alone and on anatomy; nothing for grey."""
    legends = legends_of(report)
    if legends:
        return "<h2>Colours</h2>" + "".join(
            _explained(legend) + _bars(legend) for legend in legends
        )
    if report.get("colour") == "own":
        return (
            "<h2>Colours</h2><p>The other volume is a colour image and kept its own colours. What "
            "uptake they stand for is not known.</p>"
        )
    return ""


def _explained(legend: Legend) -> str:
    return (
        f"<p>Uptake of the {escape(_named(legend))} in {escape(legend.unit)}, colour map "
        f"{escape(legend.colour_map)}: {legend.low:.4g} to {legend.high:.4g}. Read it from hue and "
        "saturation; how bright a colour is belongs to the anatomy. The bars show the map alone "
        f"and on {', '.join(GROUNDS)} anatomy.</p>"
    )


def _named(legend: Legend) -> str:
    is_functional = legend.modality in ("PET", "SPECT")
    return legend.modality if is_functional else "other volume"


def _bars(legend: Legend) -> str:
    colours = legend.colours(STOPS)
    grounds = [recolour(np.full(STOPS, light, np.float32), colours) for light in GROUNDS.values()]
    bars = "".join(
        f'<div style="background: {_gradient(bar)}"></div>' for bar in (colours, *grounds)
    )
    ticks = "".join(f"<span>{label}</span>" for label in legend.labels())
    return f'<div class="legend">{bars}<p>{ticks}</p></div>'


def _gradient(colours: np.ndarray) -> str:
    stops = ", ".join("#" + bytes(row).hex() for row in np.rint(colours * 255).astype(np.uint8))
    return f"linear-gradient(to right, {stops})"
