"""The losses of CoCoNet, with the authors' weights.

Liu et al., IJCV 2024, arXiv 2211.10960. Images are (N, 1, H, W) in [0, 1]; as published, values are
compared in [-1, 1]. Every function returns one number for the whole batch unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from MedFusionLib.training import losses
from MedFusionLib.training.legibility import LegibleLoss, Loss, ScoreLoss

SIMILARITY = 20.0
GRADIENT_SHARPNESS = 0.5
ENTROPY_SHARPNESS = 0.75
STAGES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Weights of the encoder's stages in a contrast, the finest first."""
NEGATIVES = 3
"""Pairs that an anchor is pushed away from: its own and those next to it in the batch."""
_SMALL = 1e-6
"""Keeps the shares of two images finite that are both of one grey."""
_NO_CONTRAST = 1e-7

Features = Callable[[Tensor], Sequence[Tensor]]
"""Images (N, 1, H, W) in [-1, 1] to maps of each stage, the finest first."""


def main_terms(fused: Tensor, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
    """The main stage: similarity and distance to both sources, the richer one's counting more."""
    richness = gradient_richness(reference), gradient_richness(other)
    information = entropy(reference), entropy(other)
    return {
        "similarity": SIMILARITY
        * dissimilarity(fused, reference, other, shares(*richness, GRADIENT_SHARPNESS)),
        "intensity": distance(fused, reference, other, shares(*information, ENTROPY_SHARPNESS)),
    }


def dissimilarity(fused: Tensor, reference: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    """1 - SSIM to each source, weighted by ``weights`` (2, N); both means over the batch first."""
    similar = [losses.structural_similarity(source, fused).mean() for source in (reference, other)]
    return (weights.mean(1) * (1 - torch.stack(similar))).sum()


def distance(fused: Tensor, reference: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    """Mean squared distance to each source, weighted by ``weights`` (2, N) pair by pair."""
    squared = [
        (signed(source) - signed(fused)).square().flatten(1).mean(1)
        for source in (reference, other)
    ]
    return (weights * torch.stack(squared)).sum(0).mean()


def signed(image: Tensor) -> Tensor:
    """From [0, 1] to [-1, 1]."""
    return 2 * image - 1


def gradient_richness(image: Tensor) -> Tensor:
    """Mean magnitude of both Sobel derivatives, (N,), zero beyond the border."""
    horizontal, vertical = losses.sobel(signed(image))
    return (horizontal.abs() + vertical.abs()).flatten(1).mean(1)


def entropy(image: Tensor) -> Tensor:
    """Shannon's entropy of each image's 256 grey values in bits, (N,).

    The published counter goes on counting from image to image of a batch, so that the weights of a
    pair depend on those before it; here each image is counted alone.
    """
    return torch.stack([entropy_of_counts(counts) for counts in grey_counts(image)])


def grey_counts(image: Tensor) -> Tensor:
    """How often each grey value occurs, (N, 256)."""
    greys = (signed(image) * 127.5 + 127.5).long().clamp(0, 255).flatten(1)
    counts = image.new_zeros(len(image), 256)
    return counts.scatter_add_(1, greys, torch.ones_like(greys, dtype=counts.dtype))


def entropy_of_counts(counts: Tensor) -> Tensor:
    """Entropy in bits of a distribution that is given by counts, (K,) to a number."""
    return torch.special.entr(counts / counts.sum()).sum() / torch.log(counts.new_tensor(2.0))


def shares(of_reference: Tensor, of_other: Tensor, sharpness: float) -> Tensor:
    """Weights of both sources of each pair, (2, N), which sum to 1.

    The smaller ``sharpness``, the more the source counts that has more.
    """
    both = torch.stack([of_reference, of_other]) + _SMALL
    return torch.softmax(both / (sharpness * both.sum(0)), dim=0)


def coupled_contrast(
    features: Features, fused: Tensor, reference: Tensor, other: Tensor, target: Tensor
) -> dict[str, Tensor]:
    """The second stage beside the first one's terms: the target as in the other source, and not
    as in references; all else as in the reference, and not as in others.

    ``target`` (N, 1, H, W) is 1 where the other source shows what it is made for, 0 elsewhere. A
    batch needs at least ``NEGATIVES`` pairs.
    """
    fused, reference, other = signed(fused), signed(reference), signed(other)
    rest = 1 - target
    return {
        "target contrast": contrast(
            features, fused * target, other * target, _beside(reference, target)
        ),
        "background contrast": contrast(
            features, fused * rest, reference * rest, _beside(other, rest)
        ),
    }


def contrast(
    features: Features, anchor: Tensor, positive: Tensor, negatives: Sequence[Tensor]
) -> Tensor:
    """Distance to ``positive`` over the sum of those to ``negatives``, weighted over the stages."""
    of_anchor = features(anchor)
    with torch.no_grad():
        of_positive = features(positive)
        of_negatives = [features(negative) for negative in negatives]
    ratios = [
        F.l1_loss(maps, of_positive[stage])
        / (sum(F.l1_loss(maps, seen[stage]) for seen in of_negatives) + _NO_CONTRAST)
        for stage, maps in enumerate(of_anchor)
    ]
    return torch.stack([weight * each for weight, each in zip(STAGES, ratios, strict=True)]).sum()


def _beside(images: Tensor, region: Tensor) -> list[Tensor]:
    """The region in each pair's own image and in the next ones' of the batch."""
    if len(images) < NEGATIVES:
        raise ValueError(f"The contrast needs {NEGATIVES} pairs in a batch, not {len(images)}.")
    return [images.roll(-step, dims=0) * region for step in range(NEGATIVES)]


LOSSES: dict[str, Callable[[Loss, float], ScoreLoss | LegibleLoss]] = {
    "paper": lambda terms, legibility: ScoreLoss(terms),
    "legible": LegibleLoss,
}
"""From the paper's terms and the weight of what a reader must see; the paper's loss has no such
part, the legible one adds it."""
