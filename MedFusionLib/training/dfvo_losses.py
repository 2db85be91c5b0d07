"""The published loss of DFVO, term by term, with the authors' weights.

Images are (N, 1, H, W) in [0, 1]. Every function returns one number for the whole batch unless it
says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from MedFusionLib.training.losses import edge_strength

REBUILDING = 10.0
RETINEX = 500.0
FLATNESS = 1.35
SMOOTHNESS = 1.55
PERCEPTION = 2.5
FUSION_PER_EPOCH = 0.1
"""The fusion terms count for so much more with each epoch, and for nothing in the first."""
EDGES = 0.65
INTENSITY = 1.75
COLOUR = 0.35
_FALL_OFF = 10.0
"""How soon a step of the illumination is taken for an edge that may stay."""
_LEAST_STEP = 0.01
"""Below this a step of the image does not excuse one of the illumination any less."""
_OVEREXPOSED = 7.0
"""A pixel is overexposed where the dark channel is so many times its mean."""
_WINDOW = 10
"""Side of the squares of a dark channel, in pixels."""

FeatureNetwork = Callable[[Tensor], Tensor]
"""Images (N, 1, H, W) to features of any shape; the authors have a ResNet-18."""


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
    return _sum_of_means(step * torch.exp(-_FALL_OFF * step) for step in steps(illumination))


def smoothness(illumination: Tensor, image: Tensor) -> Tensor:
    """Steps of the illumination, as shares of the image's own steps there."""
    pairs = zip(steps(illumination), steps(image), strict=True)
    return _sum_of_means(found / allowed.clamp(min=_LEAST_STEP) for found, allowed in pairs)


def steps(image: Tensor) -> tuple[Tensor, Tensor]:
    """Magnitude of the difference to the left and to the upper neighbour, (N, 1, H + 1, W + 1).

    Beyond the border there is black, as in the authors' convolutions of 2×2 pixels.
    """
    padded = F.pad(image, (1, 1, 1, 1))
    horizontal = padded[..., 1:, 1:] - padded[..., 1:, :-1]
    vertical = padded[..., 1:, 1:] - padded[..., :-1, 1:]
    return horizontal.abs(), vertical.abs()


def _sum_of_means(maps: Iterable[Tensor]) -> Tensor:
    return torch.stack([one.mean() for one in maps]).sum()


@torch.no_grad()
def perception_term(enhanced: Tensor, image: Tensor, features: FeatureNetwork) -> Tensor:
    """Distance of features to those of the image with an even histogram.

    A number without gradient, as in the published training: it changes no step.
    """
    return PERCEPTION * F.mse_loss(features(enhanced), features(equalised(image)))


def equalised(images: Tensor) -> Tensor:
    """Each image of 256 grey levels with its histogram made even; its darkest level becomes 0."""
    levels = (images * 255).round().long()
    return torch.stack([_equalised_levels(image)[image] for image in levels]) / 255


def _equalised_levels(levels: Tensor) -> Tensor:
    """The new value, 0 to 255, of each of the 256 levels of one image."""
    counts = torch.bincount(levels.flatten(), minlength=256).double()
    reached = counts.cumsum(0)
    darkest = counts[counts > 0][0]
    share = (reached - darkest) / (levels.numel() - darkest).clamp(min=1)
    return (255 * share).round().clamp(0, 255).float()


def fusion_terms(
    fused: Tensor, enhanced: Tensor, rebuilt: Tensor, dark_channel: Tensor
) -> dict[str, Tensor]:
    """The stronger edge and a weighted mean of what the network drew of both sources.

    Where the reference is overexposed the other image, as rebuilt, takes its place. No gradient
    reaches the drawn images from here.
    """
    enhanced, rebuilt = enhanced.detach(), rebuilt.detach()
    exposed = torch.where(overexposed(dark_channel), rebuilt, enhanced)
    stronger = torch.maximum(edge_strength(exposed), edge_strength(rebuilt))
    return {
        "edges": EDGES * F.mse_loss(edge_strength(fused), stronger),
        "intensity": INTENSITY
        * _weighted_distance(fused, exposed, rebuilt, _shares(enhanced, rebuilt)),
    }


def _shares(enhanced: Tensor, rebuilt: Tensor) -> Tensor:
    """How much each image counts, by the mean strength of its edges: (2, N)."""
    means = [edge_strength(image).flatten(1).mean(1) for image in (enhanced, rebuilt)]
    return torch.stack(means).softmax(0)


def _weighted_distance(fused: Tensor, first: Tensor, second: Tensor, shares: Tensor) -> Tensor:
    distances = [(fused - image).square().flatten(1).mean(1) for image in (first, second)]
    return (shares * torch.stack(distances)).sum(0).mean()


def overexposed(dark_channel: Tensor) -> Tensor:
    """Where an image is so bright that it shows nothing, (N, 1, H, W), bool."""
    return dark_channel > _OVEREXPOSED * dark_channel.mean((1, 2, 3), keepdim=True)


def dark_channel(images: Tensor) -> Tensor:
    """Least value of any colour in the square around each pixel (He et al., CVPR 2009).

    Images (N, C, H, W) to (N, 1, H, W); the squares of 10 pixels reach one further to the left and
    up, and end at the border.
    """
    darkest = images.amin(1, keepdim=True)
    before, after = _WINDOW // 2, _WINDOW - 1 - _WINDOW // 2
    padded = F.pad(-darkest, (before, after, before, after), value=-torch.inf)
    return -F.max_pool2d(padded, _WINDOW, stride=1)


def colour_distance(fused: Tensor, enhanced: Tensor) -> Tensor:
    """1 - cosine between the colours (N, 3, H, W) of two images, mean over the pixels.

    Grey images have no colour to differ in.
    """
    return (1 - F.cosine_similarity(fused, enhanced, dim=1)).mean()
