"""The losses of ASFE-Fusion: the paper's, and the one the shipped weights were trained with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from MedFusionLib.training import losses
from MedFusionLib.training.legibility import LegibleLoss, ScoreLoss

EDGE_GAIN = 1.5
"""How much steeper than the stronger source's the fused edges should be: detail of two images in
one needs a little more contrast, and pyramids give it too."""


def paper_loss(fused: Tensor, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
    """Content, structure-tensor and SSIM terms of Gu et al. 2024 with the authors' weights.

    The first two are norms over the whole batch, as published. The SSIM term is differentiable
    here; in the published training it was a number without gradient.
    """
    return {
        "content": 0.5 * content_distance(fused, reference, other),
        "structure": 0.5 * structure_distance(fused, reference, other),
        "similarity": 2
        - losses.structural_similarity(fused, other).mean()
        - losses.structural_similarity(fused, reference).mean(),
    }


def content_distance(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """Euclidean norm of the whole batch's distance to the mean of the sources."""
    return torch.linalg.vector_norm(fused - (reference + other) / 2)


def structure_distance(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """Logarithm of 1 plus the norm of the structure tensors' distance over the whole batch."""
    of_sources = structure_tensor(torch.cat([reference, other], dim=1))
    return torch.log1p(torch.linalg.vector_norm(structure_tensor(fused) - of_sources))


def structure_tensor(images: Tensor) -> Tensor:
    """(N, C, H, W) to (N, 4, H, W): dx², dx·dy, dx·dy, dy² summed over the channels."""
    dx, dy = losses.forward_differences(images)
    return torch.stack([dx * dx, dx * dy, dx * dy, dy * dy], dim=1).sum(2)


@dataclass(frozen=True)
class FaithfulLoss:
    """Keep the stronger edge and what the scores of fused images measure.

    ``weights`` names the terms that are used; a term without a weight costs nothing.
    """

    weights: Mapping[str, float] = field(
        default_factory=lambda: {
            "intensity": 1.0,
            "gradient": 14.0,
            "similarity": 2.5,
            "edges": 12.0,
            "information": 1.5,
            "differences": 2.0,
        }
    )

    def __call__(self, fused: Tensor, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        return {
            name: weight * TERMS[name](fused, reference, other).mean()
            for name, weight in self.weights.items()
        }


def _dissimilarity(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    kept = [losses.structural_similarity(fused, source) for source in (reference, other)]
    return 2 - torch.stack(kept).sum(0)


def _lost_information(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    kept = [losses.visual_information_fidelity(source, fused) for source in (reference, other)]
    return 2 - torch.stack(kept).sum(0)


TERMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "intensity": lambda fused, reference, other: losses.mean_absolute(
        fused - torch.maximum(reference, other)
    ),
    "gradient": partial(losses.gradient_distance, gain=EDGE_GAIN),
    "similarity": _dissimilarity,
    "edges": lambda fused, reference, other: 1 - losses.edge_preservation(fused, reference, other),
    "information": _lost_information,
    "differences": lambda fused, reference, other: (
        2 - losses.difference_correlation(fused, reference, other)
    ),
}

LOSSES: dict[str, Callable[[float], ScoreLoss | LegibleLoss]] = {
    "paper": lambda legibility: ScoreLoss(paper_loss),
    "legible": lambda legibility: LegibleLoss(FaithfulLoss(), legibility),
}
"""Of the weight of what a reader must see beside the scores; the paper's loss has no such part."""
