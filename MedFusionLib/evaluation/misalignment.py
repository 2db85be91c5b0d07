"""What a small misalignment does to a fused image: `medfusion misalignment`.

The other image of each aligned pair is moved by 1, 2 and 4 mm, fused with the reference, and the
result is scored twice: against the sources as they truly lie, which is what the error costs the
person who looks at it, and against the sources as given, which is all that a score can be made of
where the true place is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK
import torch

from MedFusionLib.computing.device import Device
from MedFusionLib.errors import InputError
from MedFusionLib.evaluation.metrics import DEFINITION_SET
from MedFusionLib.evaluation.pairs import Pair
from MedFusionLib.evaluation.scoring import (
    Progress,
    Sources,
    coloured,
    fused_grey,
    read_sources,
    score,
)
from MedFusionLib.methods import FusionMethod, create_method
from MedFusionLib.version import __version__

ERRORS_MM = (0.0, 1.0, 2.0, 4.0)
PIXEL_MM = 0.9
"""The atlas does not tell the pixels' width: 220 to 240 mm on 256 pixels are 0.86 to 0.94 mm."""
DIRECTIONS = 2
"""At right angles, and turned from pair to pair, so that few pairs cover all directions."""
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
HALF_A_PIXEL = (0.5, 0.5)
"""By which both images of a pair are moved together first: interpolation makes new grey values,
which raise MI, and must not be there with an error and missing without."""
TRUE_PLACE, AS_GIVEN = "true place", "as given"
JUDGED_AGAINST = (TRUE_PLACE, AS_GIVEN)
MEASURES = (
    *("MI", "SCD", "VIF", "Qabf", "SSIM", "PSNR", "CC"),
    *("invented_edges", "background_leak", "hue_error"),
)
"""Metrics that look at the sources, and the measures of faithfulness to them. EN, SD, SF and AG
look at the fused image alone."""


@dataclass(frozen=True)
class Study:
    """What is compared: pairs that are aligned, errors in mm, the width of a pixel in mm."""

    pairs: Sequence[Pair]
    errors_mm: Sequence[float] = ERRORS_MM
    pixel_mm: float = PIXEL_MM


def spread_pairs(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """At most `count` pairs of each set, evenly spaced through it, so that all sets weigh alike."""
    chosen: list[Pair] = []
    for name in dict.fromkeys(pair.set_name for pair in pairs):
        of_set = [pair for pair in pairs if pair.set_name == name]
        places = np.linspace(0, len(of_set) - 1, min(count, len(of_set)) + 2)[1:-1]
        chosen += [of_set[round(place)] for place in places]
    return chosen


def shifts(error_mm: float, pixel_mm: float, number: int) -> list[tuple[float, float]]:
    """Shifts of that length, (rows, columns) in pixels, for the pair with this number."""
    angles = [number * GOLDEN_ANGLE + turn * math.pi / 2 for turn in range(DIRECTIONS)]
    length = error_mm / pixel_mm
    return [(length * math.sin(angle), length * math.cos(angle)) for angle in angles]


def moved(image: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    """The uint8 image (H, W) or (H, W, 3), moved by (rows, columns) pixels; black moves in.

    By a cubic B-spline: linear interpolation would blur, and the metrics would count that, too.
    """
    if image.ndim == 3:
        return np.stack([moved(image[..., c], shift) for c in range(image.shape[2])], axis=2)
    source = SimpleITK.GetImageFromArray(image.astype(np.float32))
    back = SimpleITK.TranslationTransform(2, (-shift[1], -shift[0]))
    there = SimpleITK.Resample(source, back, SimpleITK.sitkBSpline, 0.0)
    return np.rint(SimpleITK.GetArrayFromImage(there).clip(0, 255)).astype(np.uint8)


def run_study(
    study: Study, methods: Sequence[str], device: Device, precision: str, progress: Progress
) -> dict[str, Any]:
    """Fuse and score every pair at every error with every method.

    Returns JSON values: how it was done, the methods' weights, and in `rows` the means of
    `MEASURES` for each set, method, error and way of judging (null where undefined).
    """
    if not study.pairs:
        raise InputError("There is no pair to move. Choose another split or other sets.")
    sources = [read_sources(pair) for pair in study.pairs]
    weights: dict[str, str | None] = {}
    rows: list[dict[str, Any]] = []
    for name in methods:
        method = create_method(name, device.device)
        weights[name] = getattr(method, "weights_sha256", None)
        for number, one in enumerate(sources):
            rows += _scores(method, one, number, study, device.device, precision)
            progress(number + 1, len(sources), f"Misaligning {name}")
    return {
        "version": __version__,
        "definition_set": DEFINITION_SET,
        "device": device.title,
        "precision": precision,
        "pixel_mm": study.pixel_mm,
        "errors_mm": list(study.errors_mm),
        "directions_per_pair": DIRECTIONS,
        "pairs": [{"set": pair.set_name, "pair_id": pair.pair_id} for pair in study.pairs],
        "weights_sha256": weights,
        "rows": _means(pd.DataFrame(rows)),
    }


def _scores(
    method: FusionMethod,
    aligned: Sources,
    number: int,
    study: Study,
    device: torch.device,
    precision: str,
) -> Iterator[dict[str, Any]]:
    true = replace(
        aligned,
        reference=moved(aligned.reference, HALF_A_PIXEL),
        other=moved(aligned.other, HALF_A_PIXEL),
    )
    for error in study.errors_mm:
        for way in shifts(error, study.pixel_mm, number) if error else [(0.0, 0.0)]:
            start = (way[0] + HALF_A_PIXEL[0], way[1] + HALF_A_PIXEL[1])
            given = replace(true, other=moved(aligned.other, start))
            fused = fused_grey(method, given, device, precision)
            picture = coloured(fused, given.other)
            for name, judge in zip(JUDGED_AGAINST, (true, given), strict=True):
                values = score(fused, picture, judge)
                yield {
                    "set": aligned.pair.set_name,
                    "method": method.name,
                    "error_mm": error,
                    "against": name,
                    **{measure: values[measure] for measure in MEASURES},
                }


def _means(rows: pd.DataFrame) -> list[dict[str, Any]]:
    means = rows.groupby(["set", "method", "error_mm", "against"], sort=False).mean().reset_index()
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in means.to_dict("records")
    ]
