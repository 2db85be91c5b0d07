"""The losses of DM-FNet's second stage: the paper's, and the one the shipped weights come from.

Images are (N, 1, H, W) in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from MedFusionLib.methods.dmfnet.losses import gradient_loss, intensity_loss, structure_loss
from MedFusionLib.training import losses
from MedFusionLib.training.asfe_losses import Loss

EDGE_GAIN = 1.3
"""How much steeper than the stronger source's the fused edges should be."""

SMALLEST_DISTANCE = 1e-3
"""Keeps squares of pure background, where the sources agree, from counting without bound."""


def paper_loss(fused: Tensor, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
    """The hybrid loss of He et al.: intensity, gradient and structure, on [-1, 1]."""
    images = [2 * image - 1 for image in (fused, reference, other)]
    return {
        "intensity": 1.5 * intensity_loss(*images),
        "gradient": gradient_loss(*images),
        "structure": structure_loss(*images),
    }


def faithful_loss(fused: Tensor, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
    """Follow the brighter value, sharpen the stronger derivative, keep what both sources show.

    The distances to value and derivative are squared on purpose. An absolute distance to the
    maximum of the sources has its kink exactly where the network starts, and holds it there.
    """
    sources = (reference, other)
    maximum = torch.maximum(reference, other)
    similarities = [losses.structural_similarity(fused, source).mean() for source in sources]
    information = [losses.visual_information_fidelity(source, fused).mean() for source in sources]
    return {
        "intensity": 5 * (fused - maximum).square().mean(),
        "sources": 0.1 * relative_source_distance(fused, reference, other).mean(),
        "gradient": 300 * squared_gradient_distance(fused, reference, other),
        "similarity": 3 * (2 - torch.stack(similarities).sum()),
        "edges": 4 * (1 - losses.edge_preservation(fused, reference, other).mean()),
        "information": 2 * (2 - torch.stack(information).sum()),
        "differences": 0.9 * (2 - losses.difference_correlation(fused, reference, other).mean()),
    }


def relative_source_distance(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """Squared distances to both sources over that between them, (N,): 0.5 at their mean.

    The division makes sets of faint and of bright images count alike.
    """

    def distance(first: Tensor, second: Tensor) -> Tensor:
        return (first - second).square().flatten(1).mean(1)

    to_sources = distance(fused, reference) + distance(fused, other)
    return to_sources / (distance(reference, other) + SMALLEST_DISTANCE)


def squared_gradient_distance(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """Mean squared distance of the derivatives to ``EDGE_GAIN`` times the stronger source's."""
    along_both_axes = zip(
        losses.forward_differences(fused),
        losses.forward_differences(reference),
        losses.forward_differences(other),
        strict=True,
    )
    distances = [
        (of_fused - EDGE_GAIN * losses.stronger(one, two)).square().mean()
        for of_fused, one, two in along_both_axes
    ]
    return torch.stack(distances).sum()


LOSSES: dict[str, Loss] = {"paper": paper_loss, "faithful": faithful_loss}
