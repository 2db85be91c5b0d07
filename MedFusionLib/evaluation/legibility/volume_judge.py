"""Judges methods on whole volumes: balls are put into each one, and `fuse` runs each time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from MedFusionLib.computing.device import choose_device
from MedFusionLib.evaluation.legibility import anatomy, balls, bone, transfer, uptake
from MedFusionLib.evaluation.legibility.board import LegibilityBoard, make_board
from MedFusionLib.evaluation.legibility.judge import COLOUR, GREY
from MedFusionLib.evaluation.scoring import Progress
from MedFusionLib.fusion import FusionResult, fuse
from MedFusionLib.hidden import hidden_contrast
from MedFusionLib.methods import create_method
from MedFusionLib.slices import colour as colours
from MedFusionLib.slices.intensity import Window
from MedFusionLib.slices.legend import described_others
from MedFusionLib.slices.painting import FUNCTIONAL, GREY_MAXIMUM, layers_of
from MedFusionLib.slices.stack import slice_stack
from MedFusionLib.volumes.volume import Volume

KINDS_PER_SOURCE = 8
"""Four amplitudes, two sizes."""


@dataclass(frozen=True)
class _Run:
    """A fusion without balls, and what it is repeated with."""

    study: balls.Study
    result: FusionResult
    again: Callable[[Sequence[Volume]], FusionResult]
    """Fuses volumes in the windows and the places of `result`."""


def judge_volumes(
    volumes: Sequence[Volume],
    methods: Sequence[str],
    options: Mapping[str, Any],
    progress: Progress,
) -> LegibilityBoard:
    """Judge methods on two or more volumes, in grey and, with PET or SPECT, in colours.

    ``options`` are those of `fuse`. Each method fuses the volumes once and eight times for each of
    them, and as often again in colours. Raises: InputError for a colour volume, and what `fuse`
    raises.
    """
    shown = (GREY, COLOUR) if any(one.modality in FUNCTIONAL for one in volumes[1:]) else (GREY,)
    lesions: list[dict[str, Any]] = []
    pictures: list[dict[str, Any]] = []
    weights: dict[str, str | None] = {}
    device = choose_device(options.get("device", "cpu")).device
    for name in methods:
        method = create_method(name, device)
        weights[name] = getattr(method, "weights_sha256", None)
        named = {**_names(volumes[1:]), "method": name}
        for way in shown:
            used = {**options, "method": method, "colour": GREY if way == GREY else "auto"}
            run = _first_run(volumes, used)
            lesions += [{**named, "shown": way, **row} for row in _judged(run, name, progress)]
        seen = run.result
        measures = picture_measures(volumes[0], seen.aligned_others, seen.volume, seen.report)
        pictures.append({**named, **measures})
    return make_board(pd.DataFrame(lesions), pd.DataFrame(pictures), weights)


def _names(others: Sequence[Volume]) -> dict[str, str]:
    return {
        "set": "-".join([*map(_modality, others), "MRI"]),
        "pair_id": "volume",
        "patient": "volume",
    }


def _modality(volume: Volume) -> str:
    return volume.modality if volume.modality != "unknown" else "volume"


def _first_run(volumes: Sequence[Volume], options: Mapping[str, Any]) -> _Run:
    result = fuse(volumes, **options)
    report = result.report
    told = [report["reference"], report["other"], *report["further"]]
    windows = tuple(Window(**one["window"]) for one in told)
    transforms = (result.transform, *result.further_transforms)
    given = [(window.low, window.high) for window in windows]
    same = {
        "alignment": ["resample" if one is None else one for one in transforms],
        "window_reference": given[0],
        "window_other": given[1:],
    }

    def again(changed: Sequence[Volume]) -> FusionResult:
        return fuse(changed, **{**options, **same})

    study = balls.Study(volumes[0], tuple(volumes[1:]), result.aligned_others, windows, transforms)
    return _Run(study, result, again)


def _judged(run: _Run, name: str, progress: Progress) -> Iterator[dict[str, Any]]:
    study, report = run.study, run.result.report
    before = study.units(), _shown(run.result.volume)
    maps = [GREY, *(one["colour"] for one in described_others(report))]
    kinds = KINDS_PER_SOURCE * len(study.sources)
    for number, variant in enumerate(balls.variants(study)):
        result = run.again(variant.sources)
        changed = replace(study, reference=variant.sources[0], aligned_others=result.aligned_others)
        source = before[0][variant.place], changed.units()[variant.place]
        fused = before[1], _shown(result.volume)
        for ball in variant.balls:
            yield {
                "source": _source_name(study, variant.place),
                "amplitude": variant.amplitude,
                "size": variant.size,
                "ground": ball.ground,
                "hot": ball.hot,
                "sigma": ball.sigma,
                **_transfer(ball, study.reference, source, fused, maps[variant.place]),
            }
        done = f"Judging {name} ({'colours' if run.result.volume.is_colour else GREY})"
        progress(number + 1, kinds, done)


def _source_name(study: balls.Study, place: int) -> str:
    """MR for the reference; the modality of another, with its place where two are of one."""
    names = ["MR", *map(_modality, study.others)]
    return names[place] if names.count(names[place]) == 1 else f"{names[place]} {place + 1}"


def _shown(fused: Volume) -> np.ndarray:
    """(K, J, I) or RGB (K, J, I, 3) in [0, 1]."""
    return fused.voxels.astype(np.float32) / (255 if fused.is_colour else GREY_MAXIMUM)


def _transfer(
    ball: balls.Ball,
    grid: Volume,
    source: tuple[np.ndarray, np.ndarray],
    fused: tuple[np.ndarray, np.ndarray],
    own_map: str,
) -> dict[str, float]:
    """In grey over all of the ball; in colours over 5×5 voxels around its centre."""
    if fused[0].ndim == 3:
        box = ball.box(grid)
        pictures, sources = ((one[box], two[box]) for one, two in (fused, source))
        share = transfer.grey_transfer(pictures, sources, ball.profile(grid))
        return {"transfer": share, "missed": math.nan}
    k, j, i = ball.voxel
    reach = transfer.CENTRE
    centre = (k, slice(max(0, j - reach), j + reach + 1), slice(max(0, i - reach), i + reach + 1))
    own = [colours.apply_colour_map(image[centre], own_map) for image in source]
    found = transfer.ColourTransfer(
        float(transfer.colour_differences(fused[0][centre], fused[1][centre]).mean()),
        float(transfer.colour_differences(own[0], own[1]).mean()),
    )
    return {"transfer": found.share, "missed": found.missed}


def picture_measures(
    reference: Volume, others: Sequence[Volume], fused: Volume, report: Mapping[str, Any]
) -> dict[str, float]:
    """Bone, uptake and edges of a fused volume, and what it hides; nan where it has none.

    All on one grid; ``report`` has the windows and the colours. Bone (of the first CT) and edges
    are means over the axial slices; uptake is read over all voxels, where one volume is in colour.
    """
    shown = _shown(fused)
    light = colours.light_of(shown)
    layers = layers_of(others, report)
    units = [layer.window.to_unit(layer.volume.voxels) for layer in layers]
    greys = [colours.light_of(unit) for unit in units]
    one = Window(**report["reference"]["window"]).to_unit(reference.voxels)
    measures = _mean_of_slices(reference, light, one, list(zip(others, greys, strict=True)))
    mapped = [place for place, layer in enumerate(layers) if layer.colour_map is not None]
    if shown.ndim == 4 and len(mapped) == 1 and report["colour"] in colours.COLOUR_MAPS:
        table = uptake.map_table(report["colour"])
        read = uptake.read_uptake(shown, table, np.linspace(0, 1, len(table)))
        measures |= uptake.uptake_measures(read, greys[mapped[0]])
    hidden = hidden_contrast(reference, others, fused, report)
    names = [f"hidden_of_{role.replace(' ', '_')}" for role in hidden.roles]
    return measures | dict(zip(names, hidden.shares, strict=True))


def _bone_of(other: Volume, unit: np.ndarray) -> np.ndarray:
    """Where a CT shows bone."""
    in_eight_bits = other.voxels.dtype == np.uint8
    return unit > bone.BONE_LEVEL if in_eight_bits else other.voxels > bone.BONE_HOUNSFIELD


def _mean_of_slices(
    grid: Volume, light: np.ndarray, reference: np.ndarray, others: list[tuple[Volume, np.ndarray]]
) -> dict[str, float]:
    """Means over the axial slices of measures of the fused picture's luminance."""

    def stack(image: np.ndarray) -> np.ndarray:
        return slice_stack(image, grid.direction_matrix, "axial")

    brightest = np.maximum.reduce([unit for _, unit in others])
    computed = [(one, unit) for one, unit in others if one.modality == "CT"][:1]
    bones = [(stack(unit), stack(_bone_of(one, unit))) for one, unit in computed]
    rows = []
    stacks = stack(light), stack(reference), stack(brightest)
    for number, (shown, anatomical, other) in enumerate(zip(*stacks, strict=True)):
        inside = anatomy.head(anatomical, other)
        row = {"edges_kept": anatomy.edges_kept(shown, anatomical, inside)}
        for unit, mask in bones:
            row |= bone.bone_measures(shown, unit[number], mask[number])
        rows.append(row)
    return {str(name): float(value) for name, value in pd.DataFrame(rows).mean().items()}
