"""Judges methods on two whole volumes: balls are put into either one, and `fuse` runs each time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from MedFusionLib.evaluation.legibility import anatomy, balls, bone, transfer, uptake
from MedFusionLib.evaluation.legibility.board import LegibilityBoard, make_board
from MedFusionLib.evaluation.legibility.judge import COLOUR, GREY
from MedFusionLib.evaluation.scoring import Progress
from MedFusionLib.fusion import FusionResult, fuse
from MedFusionLib.hidden import hidden_contrast
from MedFusionLib.methods import create_method
from MedFusionLib.slices import colour as colours
from MedFusionLib.slices.intensity import Window
from MedFusionLib.slices.painting import FUNCTIONAL, GREY_MAXIMUM
from MedFusionLib.slices.stack import slice_stack
from MedFusionLib.volumes.volume import Volume

ROLES = ("reference", "other")
KINDS_PER_VOLUME = 16
"""Two sources, four amplitudes, two sizes."""


@dataclass(frozen=True)
class _Run:
    """A fusion without balls, and what it is repeated with."""

    reference: Volume
    other: Volume
    result: FusionResult
    again: Callable[[Volume, Volume], FusionResult]
    """Fuses two volumes in the windows and the place of `result`."""

    @property
    def study(self) -> balls.Study:
        windows = tuple(Window(**self.result.report[role]["window"]) for role in ROLES)
        transform = self.result.transform
        aligned = self.result.aligned_other
        return balls.Study(self.reference, self.other, aligned, (windows[0], windows[1]), transform)


def judge_volumes(
    reference: Volume,
    other: Volume,
    methods: Sequence[str],
    options: Mapping[str, Any],
    progress: Progress,
) -> LegibilityBoard:
    """Judge methods on two volumes, in grey and, for PET and SPECT, in colours.

    ``options`` are those of `fuse`. Each method fuses the volumes 17 times, and as often again in
    colours. Raises: InputError for a colour volume, and what `fuse` raises.
    """
    shown = (GREY, COLOUR) if other.modality in FUNCTIONAL else (GREY,)
    lesions: list[dict[str, Any]] = []
    pictures: list[dict[str, Any]] = []
    weights: dict[str, str | None] = {}
    for name in methods:
        method = create_method(name, options.get("device", "cpu"))
        weights[name] = getattr(method, "weights_sha256", None)
        named = {**_names(other), "method": name}
        for way in shown:
            used = {**options, "method": method, "colour": GREY if way == GREY else "auto"}
            run = _first_run(reference, other, used)
            lesions += [{**named, "shown": way, **row} for row in _judged(run, name, progress)]
        seen = run.result
        measures = picture_measures(reference, seen.aligned_other, seen.volume, seen.report)
        pictures.append({**named, **measures})
    return make_board(pd.DataFrame(lesions), pd.DataFrame(pictures), weights)


def _names(other: Volume) -> dict[str, str]:
    known = other.modality if other.modality != "unknown" else "volume"
    return {"set": f"{known}-MRI", "pair_id": "volume", "patient": "volume"}


def _first_run(reference: Volume, other: Volume, options: Mapping[str, Any]) -> _Run:
    result = fuse(reference, other, **options)
    windows = [result.report[role]["window"] for role in ROLES]
    given = [(window["low"], window["high"]) for window in windows]

    def again(one: Volume, two: Volume) -> FusionResult:
        place = result.transform if result.transform is not None else "resample"
        same = {"alignment": place, "window_reference": given[0], "window_other": given[1]}
        return fuse(one, two, **{**options, **same})

    return _Run(reference, other, result, again)


def _judged(run: _Run, name: str, progress: Progress) -> Iterator[dict[str, Any]]:
    study = run.study
    before = study.units(), _shown(run.result.volume)
    for number, variant in enumerate(balls.variants(study)):
        result = run.again(variant.reference, variant.other)
        changed = replace(study, reference=variant.reference, aligned_other=result.aligned_other)
        side = 0 if variant.in_reference else 1
        source = before[0][side], changed.units()[side]
        fused = before[1], _shown(result.volume)
        own = GREY if variant.in_reference else run.result.report["colour"]
        for ball in variant.balls:
            yield {
                "source": "MR" if variant.in_reference else run.other.modality,
                "amplitude": variant.amplitude,
                "size": variant.size,
                "ground": ball.ground,
                "hot": ball.hot,
                "sigma": ball.sigma,
                **_transfer(ball, run.reference, source, fused, own),
            }
        done = f"Judging {name} ({'colours' if run.result.volume.is_colour else GREY})"
        progress(number + 1, KINDS_PER_VOLUME, done)


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
    reference: Volume, other: Volume, fused: Volume, report: Mapping[str, Any]
) -> dict[str, float]:
    """Bone, uptake and edges of a fused volume, and what it hides; nan where it has none.

    All three on one grid; ``report`` has the windows and the colour. Bone and edges are means over
    the axial slices, uptake is read over all voxels.
    """
    directions = reference.direction_matrix
    windows = [Window(**report[role]["window"]) for role in ROLES]
    shown = _shown(fused)
    light = colours.luminance(shown) if shown.ndim == 4 else shown
    one = windows[0].to_unit(reference.voxels)
    two = windows[1].to_unit(other.voxels)
    grey = colours.luminance(two) if two.ndim == 4 else two
    stacks = [slice_stack(image, directions, "axial") for image in (light, one, grey)]
    measures = _mean_of_slices(stacks, _bone_of(other, grey, directions))
    if shown.ndim == 4 and report["colour"] in colours.COLOUR_MAPS:
        table = uptake.map_table(report["colour"])
        read = uptake.read_uptake(shown, table, np.linspace(0, 1, len(table)))
        measures |= uptake.uptake_measures(read, grey)
    hidden = hidden_contrast(reference, [other], fused, report)
    names = ("hidden_of_reference", "hidden_of_other")
    return measures | dict(zip(names, hidden.shares, strict=True))


def _bone_of(other: Volume, unit: np.ndarray, directions: np.ndarray) -> np.ndarray | None:
    """Where a CT shows bone, as an axial stack; None for no CT."""
    if other.modality != "CT":
        return None
    in_eight_bits = other.voxels.dtype == np.uint8
    mask = unit > bone.BONE_LEVEL if in_eight_bits else other.voxels > bone.BONE_HOUNSFIELD
    return slice_stack(mask, directions, "axial")


def _mean_of_slices(stacks: Sequence[np.ndarray], bones: np.ndarray | None) -> dict[str, float]:
    rows = []
    for number, (fused, reference, other) in enumerate(zip(*stacks, strict=True)):
        inside = anatomy.head(reference, other)
        row = {"edges_kept": anatomy.edges_kept(fused, reference, inside)}
        if bones is not None:
            row |= bone.bone_measures(fused, other, bones[number])
        rows.append(row)
    return {str(name): float(value) for name, value in pd.DataFrame(rows).mean().items()}
