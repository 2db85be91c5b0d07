"""The network that refines slices, under training."""

from __future__ import annotations

import torch
from torch import Tensor

from MedFusionLib.refining.network import SliceRefiner
from MedFusionLib.training.rates import ScheduledTraining
from MedFusionLib.training.slabs import Slab

SOFTNESS = 1e-3
"""Errors below this, of the full range, count as their square."""
EDGES = 0.5
"""Weight of the errors of in-plane differences beside those of the values."""


class FinerTraining(ScheduledTraining):
    """Train one network on batches of slabs (see `slabs.Slab`)."""

    def __init__(
        self, network: SliceRefiner, learning_rate: float, rate: str, total_steps: int
    ) -> None:
        super().__init__(learning_rate, rate, total_steps)
        self.network = network

    def training_step(self, batch: Slab, batch_index: int) -> Tensor:
        measured, smooth, truth, place, step = batch
        error = smooth + self.network(measured, smooth, place, step) - truth
        total = distance(error) + EDGES * (
            distance(error.diff(dim=2)) + distance(error.diff(dim=3))
        )
        self.log("train/total", total.detach(), prog_bar=True)
        return total

    def validation_step(self, batch: Slab, batch_index: int) -> None:
        """Log ``dev/gain``: decibels by which the spline's squared error is larger."""
        measured, smooth, truth, place, step = batch
        refined = smooth + self.network(measured, smooth, place, step)
        errors = [(image - truth).square().mean() for image in (smooth, refined)]
        gain = 10 * torch.log10(errors[0] / errors[1])
        self.log("dev/gain", gain, batch_size=len(truth), sync_dist=True, prog_bar=True)


def distance(error: Tensor) -> Tensor:
    """Mean of sqrt(e² + ``SOFTNESS``²) - ``SOFTNESS`` (Charbonnier)."""
    return (error.square() + SOFTNESS**2).sqrt().mean() - SOFTNESS
