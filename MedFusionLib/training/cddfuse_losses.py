"""The losses of both phases of CDDFuse, with the authors' weights.

Images are (N, 1, H, W) in [0, 1], features (N, C, h, w). Every function returns one number for
the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from MedFusionLib.methods.cddfuse.network import Features
from MedFusionLib.training import losses
from MedFusionLib.training.legibility import LegibleLoss, ScoreLoss
from MedFusionLib.training.losses import edge_strength, normalised_sobel

SIMILARITY = 5.0
SHARPNESS = 5.0
EDGES = 10.0
GRID = 200.0
DECOMPOSITION = 2.0
_NO_LOWER_THAN = 1.01
"""Keeps the denominator of the decomposition positive: a correlation is at least -1."""


def rebuilding_terms(
    reference: Tensor, other: Tensor, rebuilt_reference: Tensor, rebuilt_other: Tensor
) -> dict[str, Tensor]:
    """Phase I without the decomposition: each source from its own features."""
    sharpness = F.l1_loss(normalised_sobel(reference), normalised_sobel(rebuilt_reference))
    return {
        "rebuilt reference": rebuilding_distance(reference, rebuilt_reference),
        "rebuilt other": rebuilding_distance(other, rebuilt_other),
        "sharpness": SHARPNESS * sharpness,
    }


def rebuilding_distance(image: Tensor, rebuilt: Tensor) -> Tensor:
    """Five times the lack of similarity, and the mean squared difference."""
    return SIMILARITY * losses.dissimilarity(image, rebuilt).mean() + F.mse_loss(image, rebuilt)


def fusion_terms(fused: Tensor, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
    """Phase II without the decomposition: the brighter source, and the stronger edge."""
    stronger = torch.maximum(edge_strength(reference), edge_strength(other))
    return {
        "intensity": F.l1_loss(fused, torch.maximum(reference, other)),
        "edges": EDGES * F.l1_loss(edge_strength(fused), stronger),
    }


def decomposition(reference: Features, other: Features) -> Tensor:
    """Small where the details of the sources differ and their bases are alike."""
    shared_detail = feature_correlation(reference.detail, other.detail)
    shared_base = feature_correlation(reference.base, other.base)
    return shared_detail**2 / (_NO_LOWER_THAN + shared_base)


def feature_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Mean over samples and channels of Pearson's correlation over the pixels."""
    first, second = (maps.flatten(2) for maps in (first, second))
    first, second = (maps - maps.mean(2, keepdim=True) for maps in (first, second))
    spread = first.square().sum(2).sqrt() * second.square().sum(2).sqrt()
    smallest = torch.finfo(torch.float32).eps
    return ((first * second).sum(2) / (spread + smallest)).clamp(-1, 1).mean()


def gridless_fusion_terms(fused: Tensor, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
    """The terms of phase II, and what pixel squares that enter as channels may leave behind."""
    return fusion_terms(fused, reference, other) | {"grid": GRID * grid(fused, reference, other)}


def grid(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """How much the four pixels of 2×2 squares differ over 18×18 pixels, which no source does.

    A Sobel derivative is blind to a pattern of this period, and so is the paper's loss. H and W
    are even.
    """
    change = F.pixel_unshuffle(fused - torch.maximum(reference, other), 2)
    local = F.avg_pool2d(change, 9, stride=1)
    return (local - local.mean(1, keepdim=True)).abs().mean()


LOSSES: dict[str, Callable[[float], ScoreLoss | LegibleLoss]] = {
    "paper": lambda legibility: ScoreLoss(fusion_terms),
    "legible": lambda legibility: LegibleLoss(gridless_fusion_terms, legibility),
}
"""Of phase II beside the decomposition, by the weight of what a reader must see; the paper's loss
has no such part, the legible one adds it, and that on the grid, to the paper's terms."""
