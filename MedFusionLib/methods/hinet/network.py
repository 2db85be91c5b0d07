"""Hi-Net's generator: two encoders, a fusion path, a decoder, and what rebuilds the inputs.

Zhou et al., IEEE TMI 39:2772, 2020, arXiv 2002.05000. All images are (N, 1, H, W) in [-1, 1] with
H and W in multiples of ``architecture.stride``. The published test routine lets each slice be
normalised by its own statistics, so that a slice depends on what lies in it; here the statistics of
the training serve, as batch normalisation means it, and neighbouring slices are treated alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.blocks.sizes import refuse_other_sizes
from MedFusionLib.methods.hinet.architecture import LEVELS, Architecture


def leaky() -> nn.Module:
    """What follows each convolution of the encoders and the fusion path."""
    return nn.LeakyReLU(0.2, inplace=True)


def rectified() -> nn.Module:
    """What follows each convolution of the decoders."""
    return nn.ReLU(inplace=True)


Activation = Callable[[], nn.Module]


class Synthesis(NamedTuple):
    """What the network gives, each (N, 1, H, W)."""

    target: Tensor
    """In (-1, 1)."""
    first: Tensor
    """The first input, rebuilt from its own features alone, in (-1, 1)."""
    second: Tensor
    """The second one, likewise."""
    error: Tensor | None
    """Expected absolute error of ``target``, or ``None`` if the network was not made to say it."""


def convolutions(
    channels_in: int, channels_out: int, activation: Activation, count: int = 1
) -> nn.Sequential:
    """``count`` times a 3×3 convolution, batch normalisation and an activation."""
    layers: list[nn.Module] = []
    for index in range(count):
        layers += [
            nn.Conv2d(channels_out if index else channels_in, channels_out, 3, padding=1),
            nn.BatchNorm2d(channels_out),
            activation(),
        ]
    return nn.Sequential(*layers)


class MixedFusion(nn.Module):
    """Sum, product and larger one of two maps, and what an earlier level fused.

    Args:
        channels: of both maps, and of the earlier level's.
        channels_out: of the result.
        activation: after each convolution.
        takes_earlier: whether there is an earlier level.
    """

    def __init__(
        self, channels: int, channels_out: int, activation: Activation, takes_earlier: bool = True
    ) -> None:
        super().__init__()
        self.mixing = convolutions(3 * channels, channels, activation)
        joined = 2 * channels if takes_earlier else channels
        self.joining = convolutions(joined, channels_out, activation)

    def forward(self, first: Tensor, second: Tensor, *earlier: Tensor) -> Tensor:
        ways = [first + second, first * second, torch.maximum(first, second)]
        return self.joining(torch.cat([self.mixing(torch.cat(ways, dim=1)), *earlier], dim=1))


class Encoder(nn.Module):
    """Features of one input at half, a quarter and an eighth of its resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [1, *(width * 2**level for level in range(LEVELS))]
        self.levels = nn.ModuleList(
            convolutions(widths[level], widths[level + 1], leaky, 2) for level in range(LEVELS)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        pooled = []
        for level in self.levels:
            image = F.max_pool2d(level(image), 2)
            pooled.append(image)
        return pooled


class FusionPath(nn.Module):
    """Both inputs' features of all levels, fused from the finest to the coarsest."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fusions = nn.ModuleList(
            [
                MixedFusion(width, 2 * width, leaky, takes_earlier=False),
                MixedFusion(2 * width, 4 * width, leaky),
                MixedFusion(4 * width, 4 * width, leaky),
            ]
        )
        self.closing = convolutions(4 * width, 8 * width, leaky)

    def forward(self, first: list[Tensor], second: list[Tensor]) -> Tensor:
        fused = self.fusions[0](first[0], second[0])
        for level in range(1, LEVELS):
            fused = self.fusions[level](first[level], second[level], F.max_pool2d(fused, 2))
        return self.closing(fused)


class Decoder(nn.Module):
    """The fused features, and once more both inputs', to the target's features (N, width, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.opening = convolutions(8 * width, 4 * width, rectified)
        self.fusions = nn.ModuleList(
            [
                MixedFusion(4 * width, 2 * width, rectified),
                MixedFusion(2 * width, width, rectified),
                MixedFusion(width, width, rectified),
            ]
        )
        self.closing = convolutions(width, width, rectified)

    def forward(self, fused: Tensor, first: list[Tensor], second: list[Tensor]) -> Tensor:
        maps = self.opening(fused)
        coarse_to_fine = zip(self.fusions, reversed(first), reversed(second), strict=True)
        for fusion, one, two in coarse_to_fine:
            maps = doubled(fusion(one, two, maps))
        return self.closing(maps)


class Rebuilder(nn.Module):
    """The coarsest features of one input back to that input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * factor for factor in (4, 4, 4, 2, 2, 1, 1)]
        self.blocks = nn.ModuleList(
            convolutions(widths[index], widths[index + 1], rectified) for index in range(6)
        )
        self.projection = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        for index, block in enumerate(self.blocks):
            maps = block(maps)
            if index % 2 == 0:
                maps = doubled(maps)
        return torch.tanh(self.projection(maps))


class ErrorHead(nn.Module):
    """Expected absolute error from the target's features and what the rebuilders got wrong."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width + 3, 2 * width, 3, padding=1),
            rectified(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            rectified(),
            nn.Conv2d(2 * width, 1, 3, padding=1),
            nn.Softplus(),
        )

    def forward(self, features: Tensor, target: Tensor, *misses: Tensor) -> Tensor:
        return self.layers(torch.cat([features, target, *misses], dim=1))


class HiNet(nn.Module):
    """The whole generator: two sequences to a third one."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        width = architecture.width
        self.encoders = nn.ModuleList(Encoder(width) for _ in range(2))
        self.path = FusionPath(width)
        self.decoder = Decoder(width)
        self.projection = nn.Conv2d(width, 1, 3, padding=1)
        self.rebuilders = nn.ModuleList(Rebuilder(width) for _ in range(2))
        self.error_head = ErrorHead(width) if architecture.expects_error else None

    def forward(self, first: Tensor, second: Tensor) -> Synthesis:
        refuse_other_sizes("Hi-Net", first, self.architecture.stride)
        of_first, of_second = self.encoders[0](first), self.encoders[1](second)
        features = self.decoder(self.path(of_first, of_second), of_first, of_second)
        target = torch.tanh(self.projection(features))
        rebuilt = self.rebuilders[0](of_first[-1]), self.rebuilders[1](of_second[-1])
        if self.error_head is None:
            return Synthesis(target, *rebuilt, None)
        misses = [(one - two).abs() for one, two in zip(rebuilt, (first, second), strict=True)]
        # The judge must not change what it judges.
        seen = [maps.detach() for maps in (features, target, *misses)]
        return Synthesis(target, *rebuilt, self.error_head(*seen))


def doubled(maps: Tensor) -> Tensor:
    """Each pixel four times."""
    return F.interpolate(maps, scale_factor=2, mode="nearest")
