"""The frozen encoder of CoCoNet: blocks of convolutions as VGG has them.

Simonyan and Zisserman, ICLR 2015. The published network looks through the first blocks of a VGG-19
that was trained on photographs; a checkpoint of the authors brings it along. The compact network
has a small one that its own training makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """3×3 convolutions, each with a ReLU; (N, channels_in, H, W) to (N, channels, H, W)."""

    def __init__(self, channels_in: int, channels: int, depth: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels if number else channels_in, channels, 3, padding=1)
            for number in range(depth)
        )

    def forward(self, maps: Tensor) -> Tensor:
        return self.rest(self.first(maps))

    def first(self, maps: Tensor) -> Tensor:
        """Maps after the first ReLU."""
        return F.relu(self.convolutions[0](maps))

    def rest(self, maps: Tensor) -> Tensor:
        """What the block makes of its own first maps."""
        for convolution in self.convolutions[1:]:
            maps = F.relu(convolution(maps))
        return maps


class Encoder(nn.Module):
    """Maps of one image at three levels, (N, width, H / 2, W / 2) and so on; the finest first."""

    def __init__(self, channels: int, widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__()
        before = (channels, *widths[:-1])
        self.blocks = nn.ModuleList(
            Block(*sizes) for sizes in zip(before, widths, depths, strict=True)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        # The authors halve once more within the first block, so that its maps fit their level.
        first: Block = self.blocks[0]  # type: ignore[assignment]
        levels = [first.rest(F.max_pool2d(first.first(image), 2))]
        for block in self.blocks[1:]:
            levels.append(block(F.max_pool2d(levels[-1], 2)))
        return levels


def first_maps(blocks: Sequence[Block], image: Tensor) -> list[Tensor]:
    """Maps after each block's first ReLU, without the additional halving: (N, width, H, W), then
    of half the side and so on, as contrastive losses read them."""
    seen = [blocks[0].first(image)]
    for before, block in pairwise(blocks):
        seen.append(block.first(F.max_pool2d(before.rest(seen[-1]), 2)))
    return seen
