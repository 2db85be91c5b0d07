"""How near a synthetic sequence comes to the acquired one, and whether its error map tells.

PSNR, NMSE and SSIM as Hi-Net's paper has them (Zhou et al., IEEE TMI 39:2772, 2020, section IV), on
images that one window each has brought to [0, 1], beside what costs nothing: an input whose
histogram was matched to the truth's, which is more than anybody without the truth can do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.slices.painting import GREY_MAXIMUM
from MedFusionLib.synthesis.synthesise import signal_window

if TYPE_CHECKING:
    from MedFusionLib.synthesis import SynthesisResult
    from MedFusionLib.volumes.volume import Volume

HEAD_LEVEL = 0.15
"""Mean of both inputs, of 1, above which a voxel is of the head; what it encloses is, too."""
WORST_SHARE = 0.1
"""The share of pixels with the largest expected error that is looked at on its own."""


@dataclass(frozen=True)
class SynthesisScore:
    """Agreement of one image with the truth; higher is better, but for ``nmse``."""

    psnr: float
    """Decibels, for a range of 1."""
    nmse: float
    """Squared distance from the truth as a share of the truth's square."""
    ssim: float
    """Mean inside the head, of the structural similarity in windows of 7×7 pixels of a slice."""


@dataclass(frozen=True)
class ErrorMapScore:
    """How well a map of the expected error foretells the error that was made."""

    rank_correlation: float
    """Spearman's, over the head's pixels: 1 if it orders them rightly, 0 if it knows nothing."""
    ratio: float
    """Mean expected error over mean error made: below 1 it promises too much."""
    worst: float
    """Mean error made where the map expects most (``WORST_SHARE``), as a multiple of the mean."""
    best_possible: float
    """The same for a map that knew the error."""


def score_synthesis(result: SynthesisResult, first: Volume, truth: Volume) -> dict[str, Any]:
    """All scores of a synthesis as plain JSON values; ``truth`` lies on the grid of ``first``."""
    inputs = {
        result.report[role]["sequence"]: signal_window(volume).to_unit(volume.voxels)
        for role, volume in (("reference", first), ("other", result.aligned))
    }
    acquired = signal_window(truth).to_unit(truth.voxels)
    made, expected = (
        volume.voxels.astype(np.float32) / GREY_MAXIMUM
        for volume in (result.volume, result.expected_error)
    )
    # Only where something was made up can it be judged.
    head = head_of(list(inputs.values())) & (made > 0)
    rows = scores_beside_copies(acquired, made, inputs, head)
    return {
        "images": {name: asdict(row) for name, row in rows.items()},
        "error_map": asdict(score_error_map(acquired, made, expected, head)),
    }


def head_of(images: Sequence[np.ndarray]) -> np.ndarray:
    """Voxels of the head, slice by slice, from images (K, J, I) in [0, 1]."""
    from scipy.ndimage import binary_fill_holes

    bright = np.mean(images, axis=0) > HEAD_LEVEL
    return np.stack([binary_fill_holes(plane) for plane in bright])


def score(truth: np.ndarray, image: np.ndarray, head: np.ndarray) -> SynthesisScore:
    """Scores inside ``head`` (bool), of arrays of one shape in [0, 1], 2D or 3D."""
    _refuse_other_shapes(truth, image, head)
    difference = (truth - image)[head]
    mean_square = float(np.mean(difference**2))
    return SynthesisScore(
        psnr=float(-10 * np.log10(mean_square)) if mean_square else float("inf"),
        nmse=float(np.sum(difference**2) / np.sum(truth[head] ** 2)),
        ssim=float(_similarity(truth, image)[head].mean()),
    )


def _similarity(truth: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Structural similarity of every pixel, slice by slice."""
    from skimage.metrics import structural_similarity

    if truth.ndim == 3:
        return np.stack([_similarity(*planes) for planes in zip(truth, image, strict=True)])
    return structural_similarity(truth, image, data_range=1.0, full=True)[1]


def scores_beside_copies(
    truth: np.ndarray, synthetic: np.ndarray, inputs: Mapping[str, np.ndarray], head: np.ndarray
) -> dict[str, SynthesisScore]:
    """The synthetic image's scores, as it is and with the truth's histogram, and each input's."""
    rows = {"synthetic": score(truth, synthetic, head)}
    for name, image in {"synthetic": synthetic, **inputs}.items():
        rows[f"{name}, histogram matched"] = score(truth, matched(image, truth, head), head)
    return rows


def matched(image: np.ndarray, truth: np.ndarray, head: np.ndarray) -> np.ndarray:
    """The image with the truth's histogram inside the head, whichever way round agrees better.

    Cerebrospinal fluid is dark in T1 and bright in T2: what is dark may stand for what is bright.
    """
    from skimage.exposure import match_histograms

    ways = []
    for turned in (image, image.max() - image):
        copy = np.zeros_like(truth)
        copy[head] = match_histograms(turned[head], truth[head])
        ways.append(copy)
    return min(ways, key=lambda copy: float(np.sum((copy - truth)[head] ** 2)))


def score_error_map(
    truth: np.ndarray, synthetic: np.ndarray, expected: np.ndarray, head: np.ndarray
) -> ErrorMapScore:
    """How well ``expected`` foretells |truth - synthetic| inside ``head``; all of one shape."""
    from scipy.stats import spearmanr

    _refuse_other_shapes(truth, synthetic, expected, head)
    made, foretold = np.abs(truth - synthetic)[head], expected[head]
    worst = max(round(WORST_SHARE * len(made)), 1)
    mean = float(made.mean()) or 1.0
    return ErrorMapScore(
        rank_correlation=float(spearmanr(made, foretold).statistic),
        ratio=float(foretold.mean()) / mean,
        worst=float(made[np.argsort(foretold)[-worst:]].mean()) / mean,
        best_possible=float(np.sort(made)[-worst:].mean()) / mean,
    )


def _refuse_other_shapes(*arrays: np.ndarray) -> None:
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise InputError(f"The volumes have different grids ({shapes}). Bring them to one first.")
