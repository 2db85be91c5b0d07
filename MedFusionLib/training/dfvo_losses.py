"""The losses of DFVO: the published one, and what the compact preset learns by.

Images are (N, 1, H, W) in [0, 1]. Every function returns one number for the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.errors import InputError
from MedFusionLib.methods.dfvo.architecture import Architecture
from MedFusionLib.training.asfe_losses import LOSSES as ASFE_LOSSES
from MedFusionLib.training.dfvo_shading import made_shading
from MedFusionLib.training.legibility import DARK, Fuser

REBUILDING = 10.0
RETINEX = 500.0
FLATNESS = 1.35
SMOOTHNESS = 1.55
FEATURES = 2.5
FUSION_PER_EPOCH = 0.1
EDGES = 0.65
INTENSITY = 1.75
COLOUR = 0.35
SHADING = 40.0
_FALL_OFF = 10.0
"""How soon a step of the illumination is taken for an edge that may stay."""
_LEAST_STEP = 0.01
"""Below this a step of the image does not excuse one of the illumination any less."""


class DFVOFuser(Fuser, Protocol):
    """A DFVO network under training."""

    network: Any


def retinex_terms(image: Tensor, enhanced: Tensor, illumination: Tensor) -> dict[str, Tensor]:
    """What ties an enhanced image and its illumination to the image: their product is it."""
    return {
        "retinex": RETINEX * F.l1_loss(enhanced * illumination, image),
        "flatness": FLATNESS * flatness(illumination),
        "smoothness": SMOOTHNESS * smoothness(illumination, image),
    }


def flatness(illumination: Tensor) -> Tensor:
    """Zero for no step at all and for a steep one, highest for steps of a tenth.

    g exp(-10 g) over steps g, as in KinD (Zhang et al., ACM Multimedia 2019).
    """
    return sum_of_means(step * torch.exp(-_FALL_OFF * step) for step in steps(illumination))


def smoothness(illumination: Tensor, image: Tensor) -> Tensor:
    """Steps of the illumination, as shares of the image's own steps there."""
    pairs = zip(steps(illumination), steps(image), strict=True)
    return sum_of_means(found / allowed.clamp(min=_LEAST_STEP) for found, allowed in pairs)


def steps(image: Tensor) -> tuple[Tensor, Tensor]:
    """Magnitude of the difference to the left and to the upper neighbour, (N, 1, H + 1, W + 1).

    Beyond the border there is black, as in the authors' convolutions of 2×2 pixels.
    """
    padded = F.pad(image, (1, 1, 1, 1))
    horizontal = padded[..., 1:, 1:] - padded[..., 1:, :-1]
    vertical = padded[..., 1:, 1:] - padded[..., :-1, 1:]
    return horizontal.abs(), vertical.abs()


def sum_of_means(maps) -> Tensor:  # type: ignore[no-untyped-def]
    """Sum of the means of several maps."""
    return torch.stack([one.mean() for one in maps]).sum()


def colour_distance(fused: Tensor, enhanced: Tensor) -> Tensor:
    """1 - cosine between the colours (N, 3, H, W) of two images, mean over the pixels."""
    return (1 - F.cosine_similarity(fused, enhanced, dim=1)).mean()


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


def unshading_loss(legibility: float, architecture: Architecture) -> UnshadingLoss:
    """The loss of networks that divide the MR by its illumination; ``InputError`` for others."""
    if architecture.output != "enhanced bands":
        raise InputError("--loss legible is for --preset compact. Choose --loss paper.")
    return UnshadingLoss(legibility)


def shading_error(found: Tensor, shading: Tensor, image: Tensor) -> Tensor:
    """Mean distance of two illuminations' logarithms where ``image`` is not background."""
    counted = (image > DARK).float()
    return ((found.log() - shading.log()).abs() * counted).sum() / counted.sum().clamp(min=1)


LOSSES: dict[str, Callable[[float, Architecture], nn.Module]] = {
    "legible": lambda legibility, architecture: unshading_loss(legibility, architecture),
}
