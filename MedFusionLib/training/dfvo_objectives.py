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
from MedFusionLib.methods.dfvo.network import DFVO
from MedFusionLib.methods.dfvo.outputs import EnhancedBands
from MedFusionLib.training import dfvo_losses
from MedFusionLib.training.asfe_losses import LOSSES as ASFE_LOSSES
from MedFusionLib.training.dfvo_losses import FeatureNetwork
from MedFusionLib.training.dfvo_shading import made_shading
from MedFusionLib.training.legibility import DARK, Fuser
from MedFusionLib.training.runs import Goal

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


class ShadingLoss(nn.Module):
    """The illumination of a darkened MR must be the made bias field that darkened it.

    For networks that divide the MR by its illumination: the product of both is the MR as it is,
    and the published terms that tie them have nothing left to do.
    """

    def forward(self, fuser: DFVOFuser, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        error = found_shading_error(fuser.network, reference, made_shading(reference))
        return {"shading": SHADING * error}


class LegibleShadingLoss(nn.Module):
    """The same, and what a reader must see in slices that nothing darkened, as for ``asfe``."""

    def __init__(self, legibility: float) -> None:
        super().__init__()
        self.seen = ASFE_LOSSES["legible"](legibility)
        self.shading = ShadingLoss()

    def forward(self, fuser: DFVOFuser, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        return self.seen(fuser, reference, other) | self.shading(fuser, reference, other)


def found_shading_error(network: DFVO, image: Tensor, shading: Tensor) -> Tensor:
    """The error of the illumination that ``network`` finds in an MR darkened by ``shading``."""
    output = network.output
    assert isinstance(output, EnhancedBands)
    return shading_error(output.enhancement.illumination(image * shading), shading, image)


def shading_error(found: Tensor, shading: Tensor, image: Tensor) -> Tensor:
    """Mean distance of two illuminations' logarithms where ``image`` is not background."""
    counted = (image > DARK).float()
    return ((found.log() - shading.log()).abs() * counted).sum() / counted.sum().clamp(min=1)


def _shading_loss(legibility: float, architecture: Architecture) -> ShadingLoss:
    _refuse_without_enhancement("shading", architecture)
    return ShadingLoss()


def _legible_loss(legibility: float, architecture: Architecture) -> LegibleShadingLoss:
    _refuse_without_enhancement("legible", architecture)
    return LegibleShadingLoss(legibility)


def _refuse_without_enhancement(loss: str, architecture: Architecture) -> None:
    if architecture.output != "enhanced bands":
        raise InputError(f"--loss {loss} is for --preset compact. Choose --loss paper.")


def _paper_loss(legibility: float, architecture: Architecture) -> PaperLoss:
    if architecture.output != "sigmoid":
        raise InputError("--loss paper is for --preset paper. Choose --loss legible.")
    return PaperLoss(architecture, features=None)


LOSSES: dict[str, Callable[[float, Architecture], nn.Module]] = {
    "legible": _legible_loss,
    "shading": _shading_loss,
    "paper": _paper_loss,
}
"""By the weight of what a reader must see, which only the first has a part of."""
GOALS = {"legible": Goal(), "shading": Goal("dev/shading", "min"), "paper": Goal()}
