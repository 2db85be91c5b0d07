"""What DFVO is trained for: the published loss with the heads it needs, or made bias fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.errors import InputError
from MedFusionLib.methods.dfvo.architecture import Architecture
from MedFusionLib.methods.dfvo.layers import Decoder, Illumination
from MedFusionLib.training import dfvo_losses
from MedFusionLib.training.asfe_losses import LOSSES as ASFE_LOSSES
from MedFusionLib.training.dfvo_losses import FeatureNetwork
from MedFusionLib.training.dfvo_shading import made_shading
from MedFusionLib.training.legibility import DARK, Fuser

SHADING = 40.0


class DFVOFuser(Fuser, Protocol):
    """A DFVO network under training."""

    network: Any
    current_epoch: int


class ImageHead(nn.Module):
    """An image in [0, 1] from the sum of base and detail features of one source."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.fold = architecture.fold
        self.decoder = Decoder(
            tuple(reversed(architecture.widths)), self.fold**2, architecture.norm_momentum
        )

    def forward(self, features: Tensor) -> Tensor:
        return torch.sigmoid(F.pixel_shuffle(self.decoder(features), self.fold))


class PaperLoss(nn.Module):
    """The published loss, with the heads that only the training has; they are trained along.

    Args:
        architecture: of the network that is trained.
        features: a feature network for the perception term, which is a number without gradient;
            ``None`` leaves the term out.
    """

    def __init__(self, architecture: Architecture, features: FeatureNetwork | None) -> None:
        super().__init__()
        self.illumination = Illumination(architecture)
        self.enhancement = ImageHead(architecture)
        self.rebuilding = ImageHead(architecture)
        self.features = features

    def forward(self, fuser: DFVOFuser, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        network = fuser.network
        of_reference, of_other = network.features(reference, other)
        uncut = network.fused(of_reference, of_other, reference, other)
        enhanced = self.enhancement(of_reference.base + of_reference.detail)
        rebuilt = self.rebuilding(of_other.base + of_other.detail)
        terms = {"rebuilding": dfvo_losses.REBUILDING * F.l1_loss(rebuilt, other)}
        terms |= dfvo_losses.retinex_terms(reference, enhanced, self.illumination(reference))
        if self.features is not None:
            terms["perception"] = dfvo_losses.perception_term(enhanced, reference, self.features)
        share = dfvo_losses.FUSION_PER_EPOCH * fuser.current_epoch
        fusion = _grey_fusion_terms(network.output.cut(uncut), enhanced, rebuilt, reference)
        return terms | {name: share * term for name, term in fusion.items()}


def _grey_fusion_terms(
    fused: Tensor, enhanced: Tensor, rebuilt: Tensor, reference: Tensor
) -> dict[str, Tensor]:
    dark = dfvo_losses.dark_channel(reference)
    colours = (image.expand(-1, 3, -1, -1) for image in (fused, enhanced.detach()))
    return dfvo_losses.fusion_terms(fused, enhanced, rebuilt, dark) | {
        "colour": dfvo_losses.COLOUR * dfvo_losses.colour_distance(*colours)
    }


class UnshadingLoss(nn.Module):
    """What a reader must see, and an illumination that is a made bias field wherever one darkens.

    For networks that divide the MR by its illumination: the product of both is the MR as it is.
    """

    def __init__(self, legibility: float) -> None:
        super().__init__()
        self.seen = ASFE_LOSSES["legible"](legibility)

    def forward(self, fuser: DFVOFuser, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        found = fuser.network.output.enhancement.illumination
        shading = made_shading(reference)
        error = shading_error(found(reference * shading), shading, reference)
        return self.seen(fuser, reference, other) | {"shading": SHADING * error}


def shading_error(found: Tensor, shading: Tensor, image: Tensor) -> Tensor:
    """Mean distance of two illuminations' logarithms where ``image`` is not background."""
    counted = (image > DARK).float()
    return ((found.log() - shading.log()).abs() * counted).sum() / counted.sum().clamp(min=1)


def _unshading_loss(legibility: float, architecture: Architecture) -> UnshadingLoss:
    if architecture.output != "enhanced bands":
        raise InputError("--loss legible is for --preset compact. Choose --loss paper.")
    return UnshadingLoss(legibility)


def _paper_loss(legibility: float, architecture: Architecture) -> PaperLoss:
    if architecture.output != "sigmoid":
        raise InputError("--loss paper is for --preset paper. Choose --loss legible.")
    return PaperLoss(architecture, features=None)


LOSSES: dict[str, Callable[[float, Architecture], nn.Module]] = {
    "legible": _unshading_loss,
    "paper": _paper_loss,
}
"""By the weight of what a reader must see, which the paper's loss has no part of."""
