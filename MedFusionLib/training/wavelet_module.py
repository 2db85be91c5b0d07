"""The wavelet autoencoder under training: stage I rebuilds single images, stage II fuses them."""

from __future__ import annotations

import torch
from torch import Tensor

from MedFusionLib.training.two_phases import TwoPhaseTraining
from MedFusionLib.training.wavelet_losses import rebuilding_terms


class WaveletTraining(TwoPhaseTraining):
    """Nothing but the loss changes between the stages: the rules of the fusion learn nothing."""

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.network.uncut(reference, other)

    def cut(self, uncut: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        return uncut.clamp(0, 1)

    def rebuilding(self, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        images = torch.cat([reference, other])
        return rebuilding_terms(images, self.network.rebuilt(images))
