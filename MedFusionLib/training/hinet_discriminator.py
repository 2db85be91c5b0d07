"""What tells Hi-Net's results from acquired images while it trains."""

from __future__ import annotations

from torch import nn

BATCH_NORM_EPSILON = 0.8
"""As published, where it seems to have been meant for another argument."""


class Discriminator(nn.Sequential):
    """Images (N, 1, H, W) in [-1, 1] to a map of how real their parts look.

    The map is (N, 1, H / 16 - 2, W / 16 - 2): about 1 where an image looks acquired, about 0 where
    it looks made. 391,041 parameters.
    """

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for channels_in, channels_out in ((1, 32), (32, 64), (64, 128), (128, 256)):
            layers.append(nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1))
            if channels_in > 1:
                layers.append(nn.BatchNorm2d(channels_out, BATCH_NORM_EPSILON))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        super().__init__(*layers, nn.Conv2d(256, 1, 3))
