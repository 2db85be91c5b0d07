"""The losses of DM-FNet's second stage: the paper's, and the one the shipped weights come from.

Images are (N, 1, H, W) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from MedFusionLib.methods.dmfnet.losses import gradient_loss, intensity_loss, structure_loss
from MedFusionLib.training.asfe_losses import FaithfulLoss
from MedFusionLib.training.legibility import LegibleLoss, ScoreLoss


def paper_loss(fused: Tensor, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
    """The hybrid loss of He et al.: intensity, gradient and structure, on [-1, 1]."""
    images = [2 * image - 1 for image in (fused, reference, other)]
    return {
        "intensity": 1.5 * intensity_loss(*images),
        "gradient": gradient_loss(*images),
        "structure": structure_loss(*images),
    }


LOSSES: dict[str, Callable[[float], ScoreLoss | LegibleLoss]] = {
    "paper": lambda legibility: ScoreLoss(paper_loss),
    "legible": lambda legibility: LegibleLoss(FaithfulLoss(), legibility),
}
"""Of the weight of what a reader must see beside the scores; the paper's loss has no such part."""
