"""The report of one fusion: scores of every slice, and a page from which to trust or reject it.

Needs the core dependencies only, so that Slicer can make it too.
"""

from __future__ import annotations

import base64
import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from MedFusionLib.errors import GeometryError, InputError
from MedFusionLib.evaluation.metric_cards import METRIC_CARDS
from MedFusionLib.evaluation.metrics import DEFINITION_SET, all_metrics
from MedFusionLib.evaluation.reports.fusion_page import fusion_page
from MedFusionLib.evaluation.reports.legibility_figures import legibility_figures
from MedFusionLib.evaluation.volume_measures import grey_measures, hue_error
from MedFusionLib.outputs import write_text
from MedFusionLib.registration.pictures import write_pictures
from MedFusionLib.slices import colour as colours
from MedFusionLib.slices.intensity import Window, choose_window
from MedFusionLib.slices.stack import slice_stack
from MedFusionLib.volumes.volume import Volume

GREY_MAXIMUM = 4095
"""The largest value of a scalar fused volume of MedFusion."""


@dataclass(frozen=True)
class _Settings:
    """How the volumes were made into slices: the part of a fusion's report that scoring needs."""

    plane: str
    reference: Window
    other: Window
    colour_map: str | None


def score_fusion(
    reference: Volume,
    other: Volume,
    fused: Volume,
    report: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    most_slices: int | None = None,
) -> dict[str, Any]:
    """Metrics of the slices and measures of the whole, as JSON values (null where undefined).

    Every slice that shows something is measured, or `most_slices` of them, spread evenly.

    The three volumes lie on one grid (`FusionResult.aligned_other`). All are brought to grey
    values 0..255, rounded, by the windows, colours and plane of the fusion's `report`; without one,
    by the defaults (see `default_settings`). Of a colour volume the luminance is scored.
    `progress(done, total)` hears of slices that are done; what it raises ends the scoring.

    Returns `per_slice` (metric -> a value per slice, null for an empty or unmeasured one), `mean`
    (over the measured slices), `volume` (see `volume_measures`), `legibility` (see
    `legibility_figures`), `plane`, `slices`, `empty_slices`, `measured_slices` and
    `definition_set`.
    Raises: GeometryError when the grids differ in shape.
    """
    shapes = {volume.grid_shape for volume in (reference, other, fused)}
    if len(shapes) > 1:
        raise GeometryError(
            f"The volumes to score have different grids: {sorted(shapes)}. Score the other volume "
            "resampled to the reference (medfusion fuse --aligned)."
        )
    settings = _settings(report or default_settings(reference, other, fused))
    stacks = _grey_stacks(reference, other, fused, settings)
    shown = torch.stack([stack.amax(dim=(1, 2)) for stack in stacks]).amax(dim=0) > 0
    places = _spread(torch.nonzero(shown)[:, 0], most_slices)
    per_slice = _metrics_at(places, stacks, progress)
    measures = grey_measures(*stacks)
    if settings.colour_map is not None and fused.is_colour:
        measures["hue_error"] = _hue_error(other, fused, settings)
    return {
        "definition_set": DEFINITION_SET,
        "plane": settings.plane,
        "slices": len(shown),
        "empty_slices": int((~shown).sum()),
        "measured_slices": len(places),
        "mean": {name: _mean_of_finite(values) for name, values in per_slice.items()},
        "per_slice": {name: _finite_list(values) for name, values in per_slice.items()},
        "volume": {name: _finite(value) for name, value in measures.items()},
        "legibility": (
            legibility_figures(reference, other, fused, report, places.tolist())
            if report is not None
            else {}
        ),
    }


def _spread(places: torch.Tensor, most: int | None) -> torch.Tensor:
    """All places, or so many of them, evenly spread."""
    if most is None or len(places) <= most:
        return places
    return places[torch.linspace(0, len(places) - 1, most).round().long()]


def _metrics_at(
    places: torch.Tensor,
    stacks: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    progress: Callable[[int, int], None] | None,
) -> dict[str, torch.Tensor]:
    """A value per slice of the stack for each metric, nan where it was not measured.

    An empty slice has none: of two images without content some metrics would say that they are
    alike.
    """
    if not len(places):
        return {name: torch.full((len(stacks[0]),), math.nan) for name in METRIC_CARDS}
    measured = all_metrics(*(stack[places] for stack in stacks), progress=progress)
    values = {}
    for name, of_places in measured.items():
        values[name] = torch.full((len(stacks[0]),), math.nan, dtype=of_places.dtype)
        values[name][places] = of_places
    return values


def write_report(
    report: Mapping[str, Any],
    path: Path,
    pictures: Mapping[str, np.ndarray] | None = None,
    hidden: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write a fusion's report as a page (.html) or as JSON (.json), whole or not at all.

    `pictures` are those of `registration.pictures.quality_pictures`, `hidden` those of
    `hidden_pictures`; the page shows them, JSON leaves them out.

    Raises: InputError for another ending.
    """
    suffix = path.suffix.lower()
    if suffix == ".html":
        shown = picture_uris(pictures or {}), picture_uris(hidden or {})
        write_text(path, fusion_page(report, *shown))
    elif suffix == ".json":
        write_text(path, json.dumps(report, indent=2) + "\n")
    else:
        raise InputError(f"'{path.name}' is no report format. End it with .html or .json.")


def picture_uris(pictures: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The pictures as PNG data URIs, by name, so that a page needs no file beside it."""
    with tempfile.TemporaryDirectory(prefix="medfusion-") as folder:
        files = write_pictures(pictures, Path(folder))
        return {
            file.stem: "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
            for file in files
        }


def default_settings(
    reference: Volume,
    other: Volume,
    fused: Volume,
    windows: tuple[str | None, str | None] = (None, None),
    plane: str = "axial",
) -> dict[str, Any]:
    """What `score_fusion` needs of a report, for a fused volume that comes without one.

    The windows are those that `fuse` would choose, so `other` should not be resampled yet; a
    colour result of a grey source is taken to be in `fuse`'s default colours.
    """
    brightest = other.voxels.max(axis=3) if other.is_colour else other.voxels
    chosen = (
        choose_window(reference, windows[0]),
        choose_window(replace(other, voxels=brightest), windows[1]),
    )
    described = [
        {"window": asdict(window), "modality": volume.modality}
        for window, volume in zip(chosen, (reference, other), strict=True)
    ]
    return {
        "plane": plane,
        "colour": _colour_of(other, fused),
        "reference": described[0],
        "other": described[1],
    }


def _colour_of(other: Volume, fused: Volume) -> str:
    if other.is_colour:
        return "own"
    return colours.FUNCTIONAL_MAP if fused.is_colour else "grey"


def _settings(report: Mapping[str, Any]) -> _Settings:
    colour = report["colour"]
    return _Settings(
        report["plane"],
        Window(**report["reference"]["window"]),
        Window(**report["other"]["window"]),
        None if colour == "grey" else colour,
    )


def _grey_stacks(
    reference: Volume, other: Volume, fused: Volume, settings: _Settings
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Fused, reference and other as rounded grey stacks (N, H, W), 0..255."""
    units = (
        colours.light_of(fused.voxels / _full_scale(fused)),
        settings.reference.to_unit(reference.voxels),
        colours.light_of(_painted_other(other, settings)),
    )
    first, second, third = (_stack(unit, reference, settings.plane).round() for unit in units)
    return first, second, third


def _stack(unit: np.ndarray, reference: Volume, plane: str) -> torch.Tensor:
    """Slices of voxels in [0, 1] as grey values 0..255."""
    slices = slice_stack(unit, reference.direction_matrix, plane)
    return torch.from_numpy(np.ascontiguousarray(slices, dtype=np.float32)) * 255


def _full_scale(fused: Volume) -> float:
    """The stored value that stands for white: 255 in 8 bits, else the 4095 of `fuse`."""
    largest = float(fused.voxels.max())
    return 255.0 if fused.voxels.dtype == np.uint8 else max(largest, GREY_MAXIMUM)


def _painted_other(other: Volume, settings: _Settings) -> np.ndarray:
    """The other volume in [0, 1] as it was fused: (K, J, I), or in colour (K, J, I, 3)."""
    unit = settings.other.to_unit(other.voxels)
    if settings.colour_map is None or unit.ndim == 4:
        return unit
    return colours.apply_colour_map(unit, settings.colour_map)


def _hue_error(other: Volume, fused: Volume, settings: _Settings) -> float:
    painted = _painted_other(other, settings) * 255
    return hue_error(torch.from_numpy(fused.voxels.copy()), torch.from_numpy(painted))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _finite_list(values: torch.Tensor) -> list[float | None]:
    return [_finite(value) for value in values.tolist()]


def _mean_of_finite(values: torch.Tensor) -> float | None:
    finite = values[torch.isfinite(values)]
    return float(finite.mean()) if finite.numel() else None
