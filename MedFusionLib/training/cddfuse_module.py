"""CDDFuse under training: phase I rebuilds each source, phase II fuses them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from MedFusionLib.methods.cddfuse.network import CDDFuse, Features
from MedFusionLib.methods.trained import shown
from MedFusionLib.training.cddfuse_losses import DECOMPOSITION, decomposition, rebuilding_terms
from MedFusionLib.training.two_phases import TwoPhaseTraining

CLIP_NORM = 0.01
"""To which the gradient of each part is cut, as published: Adam's rate alone sets the steps."""


class ObservedFusion:
    """A fuser that keeps the features of its last slices, for the decomposition."""

    def __init__(self, network: CDDFuse) -> None:
        self._network = network
        self.features: tuple[Features, Features]

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        self.features = self._network.encoder(reference), self._network.encoder(other)
        skip = self._network.skip(reference, other)
        return self._network.decoder(self._network.fusion(*self.features), skip)

    def cut(self, uncut: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        """The slices as they are: a sigmoid leaves nothing to cut."""
        return uncut


class CDDFuseTraining(TwoPhaseTraining):
    """``loss`` is that of phase II beside the decomposition; phase I has always the authors'."""

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.network(reference, other)

    def cut(self, uncut: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        return shown(uncut, reference, other)

    def rebuilding(self, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        """The weighted terms of phase I."""
        rebuilt_reference, of_reference = self.network.rebuilt(reference)
        rebuilt_other, of_other = self.network.rebuilt(other)
        terms = rebuilding_terms(reference, other, rebuilt_reference, rebuilt_other)
        return terms | {"decomposition": DECOMPOSITION * decomposition(of_reference, of_other)}

    def fusing(self, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        """The weighted terms of phase II."""
        fusion = ObservedFusion(self.network)
        terms = self.loss(fusion, reference, other)
        return terms | {"decomposition": DECOMPOSITION * decomposition(*fusion.features)}

    def parts(self) -> tuple[nn.Module, ...]:
        """What the authors optimise apart: encoder, decoder, fusion of bases, of details."""
        fusion = self.network.fusion
        return self.network.encoder, self.network.decoder, fusion.base, fusion.detail

    def configure_gradient_clipping(self, *arguments: Any, **options: Any) -> None:
        for part in self.parts():
            nn.utils.clip_grad_norm_(part.parameters(), CLIP_NORM)
