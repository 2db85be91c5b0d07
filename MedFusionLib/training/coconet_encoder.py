"""The encoder that CoCoNet looks through, trained on the slices themselves.

The authors take a VGG-19 that was trained on photographs. Here an encoder of the same kind learns
to keep what a slice shows: from the maps of every place that the network or its contrast reads, a
1×1 convolution must draw the slice again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.coconet.architecture import Architecture
from MedFusionLib.methods.coconet.encoder import Block, Encoder, first_maps


class DeeperBlocks(nn.Module):
    """What the contrast reads beyond the network's encoder, of VGG-19's proportions."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        coarsest = architecture.widths[-1]
        self.blocks = nn.ModuleList(
            [
                Block(coarsest, 2 * coarsest, architecture.encoder_depths[-1]),
                Block(2 * coarsest, 2 * coarsest, 1),
            ]
        )

    def stages(self, encoder: Encoder, folded: Tensor) -> list[Tensor]:
        """Maps of five stages of images (N, C, H, W) as the encoder takes them."""
        return first_maps([*encoder.blocks, *self.blocks], folded)


class Redrawing(nn.Module):
    """Draws a slice from each of the encoder's maps, and tells how far off each drawing is."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        coarser = architecture.widths[1:]
        levels = [(width, 2**level) for level, width in enumerate(coarser, start=1)]
        deeper = [2 * coarser[-1]] * 2
        stages = [(width, 2**stage) for stage, width in enumerate([*coarser, *deeper])]
        self.heads = nn.ModuleList(
            nn.Conv2d(width, (side * architecture.fold) ** 2, 1)
            for width, side in [*levels, *stages]
        )

    def forward(self, maps: Sequence[Tensor], image: Tensor) -> Tensor:
        """Mean squared distances of the drawings to ``image`` (N, 1, H, W), (number of maps,)."""
        drawn = [head(each) for head, each in zip(self.heads, maps, strict=True)]
        sides = [round(each.shape[1] ** 0.5) for each in drawn]
        return torch.stack(
            [
                F.mse_loss(F.pixel_shuffle(each, side), image)
                for each, side in zip(drawn, sides, strict=True)
            ]
        )
