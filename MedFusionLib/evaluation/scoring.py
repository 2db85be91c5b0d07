"""Runs methods on slice pairs as `fuse` runs them on volumes, and scores every fused image."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from MedFusionLib.computing.device import autocast
from MedFusionLib.computing.slice_fusion import fuse_slices
from MedFusionLib.errors import InputError
from MedFusionLib.evaluation import metrics, volume_measures
from MedFusionLib.evaluation.grey_images import grey, read_image
from MedFusionLib.evaluation.pairs import Pair, Published
from MedFusionLib.slices import colour

if TYPE_CHECKING:
    from MedFusionLib.methods import FusionMethod

SIDE_MEASURES = {
    "invented_edges": "↓",
    "background_leak": "↓",
    "hue_error": "↓",
    "entropy_inside_head": "↑",
    "SSIM_range_2": "↑",
}
"""Beside the metrics in every table, outside the mean rank, with the better direction."""
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Sources:
    """The two images of a pair: MR (H, W) and other (H, W) or RGB (H, W, 3), both uint8."""

    pair: Pair
    reference: np.ndarray
    other: np.ndarray


@dataclass(frozen=True)
class Scored:
    """A fused image with its scores: one row of the per-pair table."""

    method: str
    pair: Pair
    picture: np.ndarray
    """uint8 (H, W), or (H, W, 3) in the colours of the functional source."""
    values: dict[str, float]
    seconds: float = math.nan


def read_sources(pair: Pair) -> Sources:
    """Read both images of a pair; `InputError` if their sizes differ."""
    reference, other = grey(read_image(pair.reference)), read_image(pair.other)
    if reference.shape != other.shape[:2]:
        raise InputError(
            f"The images of pair {pair.pair_id} have the sizes {reference.shape} and "
            f"{other.shape[:2]}. A pair must be of one size."
        )
    return Sources(pair, reference, other)


def score_method(
    method: FusionMethod,
    sources: Sequence[Sources],
    device: torch.device,
    precision: str,
    progress: Progress,
) -> Iterator[Scored]:
    """Fuse each pair with a method and score it."""
    for number, one in enumerate(sources):
        started = time.perf_counter()
        fused = fused_grey(method, one, device, precision)
        seconds = time.perf_counter() - started
        picture = coloured(fused, one.other)
        yield Scored(method.name, one.pair, picture, score(fused, picture, one), seconds)
        progress(number + 1, len(sources), f"Scoring {method.name}")


def fused_grey(
    method: FusionMethod, sources: Sources, device: torch.device, precision: str
) -> np.ndarray:
    """uint8 (H, W): the pair fused as `fuse` does it, clamped to [0, 1] and rounded to 8 bits.

    The method sees the very grey values, over 255, that the metrics judge it against.
    """
    reference, other = (
        torch.from_numpy(grey(image).astype(np.float32) / 255)[None, None].to(device)
        for image in (sources.reference, sources.other)
    )
    with autocast(precision, device):
        fused = fuse_slices(method, reference, other, [sources.pair.slice_number])
    # A mean of whole grey values is often exactly between two: to three decimals first, so that the
    # error of float32 does not decide how such a tie is rounded.
    return np.rint(np.round(fused[0, 0].double().cpu().numpy() * 255, 3)).astype(np.uint8)


def coloured(fused: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The fused grey image (H, W) in the colours of the other, where that is RGB; uint8."""
    if other.ndim == 2:
        return fused
    painted = colour.recolour(fused.astype(np.float32) / 255, other.astype(np.float32) / 255)
    return np.rint(painted * 255).astype(np.uint8)


def score_published(
    published: Sequence[Published], sources: dict[tuple[str, str], Sources]
) -> Iterator[Scored]:
    """Score published images against the sources they were made from."""
    for result in published:
        one = sources[result.key]
        fused = read_image(result.image)
        if fused.shape[:2] != one.reference.shape:
            raise InputError(
                f"'{result.image}' has the size {fused.shape[:2]}, its pair {one.reference.shape}."
            )
        yield Scored(result.method, one.pair, fused, score(grey(fused), fused, one))


def score(fused: np.ndarray, picture: np.ndarray, sources: Sources) -> dict[str, float]:
    """Metrics of set A and the side measures of a fused image.

    ``fused``: its grey values, uint8 (H, W); ``picture``: as it is shown, grey or RGB.
    """
    fused_stack, reference, other = (
        torch.from_numpy(image).double()[None]
        for image in (fused, sources.reference, grey(sources.other))
    )
    stacks = fused_stack, reference, other
    values = {name: float(value) for name, value in metrics.all_metrics(*stacks).items()}
    values["invented_edges"] = volume_measures.invented_edges(*stacks)
    values["background_leak"] = volume_measures.background_leak(*stacks)
    values["entropy_inside_head"] = volume_measures.entropy_inside_head(*stacks)
    similarity = metrics.structural_similarity(*stacks, data_range=metrics.FLOAT_RANGE)
    values["SSIM_range_2"] = float(similarity)
    values["hue_error"] = math.nan
    if picture.ndim == 3 and sources.other.ndim == 3:
        values["hue_error"] = volume_measures.hue_error(
            torch.from_numpy(picture), torch.from_numpy(sources.other)
        )
    return values
