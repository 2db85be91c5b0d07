"""The shared encoder of ASFE-Fusion: four levels with anti-aliased downsampling.

Gu et al., Biomedical Signal Processing and Control 96:106478, 2024; anti-aliased pooling after
Zhang, "Making convolutional networks shift-invariant again", ICML 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_BINOMIAL = (1.0, 3.0, 3.0, 1.0)


class BlurredDownsampling(nn.Module):
    """Blur with a 4x4 kernel per channel and keep every second pixel.

    ``(N, C, H, W)`` becomes ``(N, C, ceil(H / 2), ceil(W / 2))``. The kernel is a buffer rather
    than a constant because checkpoints store it.
    """

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor(_BINOMIAL)
        kernel = torch.outer(row, row) / row.sum() ** 2
        self.register_buffer("kernel", kernel.expand(channels, 1, 4, 4).clone())

    def forward(self, maps: Tensor) -> Tensor:
        padded = F.pad(maps, (1, 2, 1, 2), mode="reflect")
        return F.conv2d(padded, self.kernel.to(maps.dtype), stride=2, groups=maps.shape[1])


class AntiAliasedReduction(nn.Module):
    """Halve H and W: maximum over 2x2 windows at every pixel, then a blur with stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blur = BlurredDownsampling(channels)

    def forward(self, maps: Tensor) -> Tensor:
        return F.gelu(self.blur(F.max_pool2d(maps, kernel_size=2, stride=1)))


class EncoderLevel(nn.Module):
    """Two normalised 3x3 convolutions, then GELU; the first convolution has no activation.

    Maps ``(N, channels_in, H, W)`` to ``(N, channels_out, H, W)``, or to half of H and W when
    ``reduction`` is an :class:`AntiAliasedReduction`.
    """

    def __init__(
        self, channels_in: int, hidden: int, channels_out: int, reduction: nn.Module
    ) -> None:
        super().__init__()
        self.reduction = reduction
        self.conv1 = nn.Conv2d(channels_in, hidden, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, channels_out, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels_out)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.norm1(self.conv1(self.reduction(maps)))
        return F.gelu(self.norm2(self.conv2(maps)))


class Encoder(nn.Module):
    """Stem and four levels; both images pass through the same one.

    ``(N, channels, H, W)`` becomes four maps of ``widths[1:]`` channels, whose sides are H to H/8.
    ``widths`` is the stem's width and the four levels' widths; ``hidden`` the width between the
    two convolutions of each level.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, widths[0], 1)
        self.levels = nn.ModuleList(
            EncoderLevel(before, between, after, _reduction(level, before))
            for level, (before, between, after) in enumerate(
                zip(widths[:-1], hidden, widths[1:], strict=True)
            )
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        features = []
        maps = self.stem(image)
        for level in self.levels:
            maps = level(maps)
            features.append(maps)
        return features


def _reduction(level: int, channels: int) -> nn.Module:
    return AntiAliasedReduction(channels) if level > 0 else nn.Identity()
