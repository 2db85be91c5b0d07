"""Hi-Net's losses: Zhou et al., IEEE TMI 39:2772, 2020, equations 6 to 10, as published."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from MedFusionLib.methods.hinet.network import Synthesis

TARGET = 100.0
"""Weight of the mean absolute error of the synthesised image."""
REBUILT = 20.0
"""Weight of each input's, rebuilt from its own features."""


def generator_terms(
    given: Synthesis, judged: Tensor, target: Tensor, first: Tensor, second: Tensor
) -> dict[str, Tensor]:
    """The weighted terms of the generator's loss.

    ``judged`` is the discriminator's map of the synthesised images, the others (N, 1, H, W) in
    [-1, 1].
    """
    return {
        "adversarial": F.mse_loss(judged, torch.ones_like(judged)),
        "target": TARGET * F.l1_loss(given.target, target),
        "first": REBUILT * F.l1_loss(given.first, first),
        "second": REBUILT * F.l1_loss(given.second, second),
    }


def discriminator_loss(judged_acquired: Tensor, judged_made: Tensor) -> Tensor:
    """Least squares: mean of both kinds' squared distances from 1 and from 0."""
    acquired = F.mse_loss(judged_acquired, torch.ones_like(judged_acquired))
    return (acquired + F.mse_loss(judged_made, torch.zeros_like(judged_made))) / 2


def error_loss(expected: Tensor, given: Tensor, target: Tensor) -> Tensor:
    """Least squares from the absolute error that was made, whose mean is so learnt.

    Not in the paper; it leads no gradient into the synthesised image.
    """
    return F.mse_loss(expected, (given - target).abs().detach())
