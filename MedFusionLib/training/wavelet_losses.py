"""The losses of both stages of the wavelet autoencoder, a reconstruction of our own.

Images are (N, 1, H, W), sources in [0, 1]. Every function of the stages returns one number for the
whole batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from MedFusionLib.training import losses
from MedFusionLib.training.legibility import LegibleLoss, ScoreLoss

REBUILT_SIMILARITY = 10.0
EDGES = 10.0
SELECTION = 5.0
"""How sharply the brighter source is selected at a pixel."""
_FLAT = 1e-4
"""Variance beside which both sources count alike: a noise of a hundredth of the range."""


def rebuilding_terms(image: Tensor, rebuilt: Tensor) -> dict[str, Tensor]:
    """Stage I: mean square, and ten times the lack of similarity."""
    lacking = 1 - losses.structural_similarity(image, rebuilt).mean()
    return {
        "rebuilt": F.mse_loss(rebuilt, image),
        "rebuilt similarity": REBUILT_SIMILARITY * lacking,
    }


def selective_terms(fused: Tensor, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
    """Stage II: the brighter source, the richer one's structure, the stronger edge."""
    return {
        "intensity": selected_distance(fused, reference, other),
        "similarity": 1 - selected_similarity(fused, reference, other),
        "edges": EDGES * edge_distance(fused, reference, other),
    }


def selected_distance(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """Mean distance to both sources, shared by the softmax of five times their values."""
    share = torch.sigmoid(SELECTION * (reference - other))
    return (share * (fused - reference).abs() + (1 - share) * (fused - other).abs()).mean()


def selected_similarity(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """Mean SSIM with both sources, shared by their variances in the window of the SSIM."""
    window = losses.gaussian_window(11, 1.5, reference)
    _, _, variance, of_other, _ = losses.local_moments(reference, other, window)
    variance, of_other = (values.clamp(min=0) + _FLAT for values in (variance, of_other))
    share = variance / (variance + of_other)
    with_reference = losses.similarity_map(fused, reference)
    return (share * with_reference + (1 - share) * losses.similarity_map(fused, other)).mean()


def edge_distance(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """Mean distance of the gradient's length to the stronger source's."""
    stronger = torch.maximum(_steepness(reference), _steepness(other))
    return F.l1_loss(_steepness(fused), stronger)


def _steepness(image: Tensor) -> Tensor:
    horizontal, vertical = losses.normalised_sobel(image).split(1, dim=1)
    return losses.magnitude((horizontal, vertical))


LOSSES: dict[str, Callable[[float], ScoreLoss | LegibleLoss]] = {
    "selective": lambda legibility: ScoreLoss(selective_terms),
    "legible": lambda legibility: LegibleLoss(selective_terms, legibility),
}
"""Of stage II, by the weight of what a reader must see, which ``legible`` adds to the terms."""
