"""The fused image as the brighter source plus the sources' own detail, each times a gain.

A network that gives the gains can strengthen or weaken what a source shows, but it cannot draw
an edge that neither source has, and a black background stays exactly black.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WeightedDetails(nn.Module):
    """Brighter source plus the sources' details, each times a gain per pixel.

    With M and m the pixelwise maximum and minimum of the sources, and fine and coarse detail
    their difference to a Gaussian of 1 pixel and between Gaussians of 1 and 3 pixels, the gains
    belong to: M fine, M coarse, m fine, m coarse, and m itself. A gain is the hyperbolic tangent
    of the decoder's map and so lies between -1 and 1. The result is in [0, 1], and zero where
    both sources are zero.
    """

    channels = 5
    START = (0.15, 0.10, 0.50, 0.30, 0.05)
    """Gains of an untrained network; with these alone the scores beat the maximum's already."""

    def forward(self, decoded: Tensor, image1: Tensor, image2: Tensor) -> Tensor:
        brighter, darker = torch.maximum(image1, image2), torch.minimum(image1, image2)
        parts = torch.cat([*_details(brighter), *_details(darker), darker], dim=1)
        correction = (torch.tanh(decoded.float()) * parts).sum(1, keepdim=True)
        return (brighter + correction).clamp(0, 1) * (brighter > 0)


def start_gains(projection: nn.Conv2d) -> None:
    """Make an untrained network's gains the same everywhere: ``WeightedDetails.START``.

    A projection with several channels per gain, for pixels that are laid out later, gives each
    of them the same value.
    """
    nn.init.zeros_(projection.weight)
    bias = torch.tensor([math.atanh(gain) for gain in WeightedDetails.START])
    repeats = projection.out_channels // WeightedDetails.channels
    projection.bias = nn.Parameter(bias.repeat_interleave(repeats))


def _details(image: Tensor) -> tuple[Tensor, Tensor]:
    smooth, smoother = _gaussian(image, 1.0), _gaussian(image, 3.0)
    return image - smooth, smooth - smoother


def _gaussian(image: Tensor, sigma: float) -> Tensor:
    reach = math.ceil(3 * sigma)
    offsets = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    window = torch.exp(-(offsets**2) / (2 * sigma**2))
    row = (window / window.sum()).view(1, 1, 1, -1)
    padded = F.pad(image, (reach, reach, reach, reach), mode="reflect")
    return F.conv2d(F.conv2d(padded, row), row.transpose(2, 3))
