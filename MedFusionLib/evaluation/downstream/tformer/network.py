"""TFormer: a class predicted from two images of one place. Zhang et al., Comput. Biol. Med., 2023.

Both images pass one Swin transformer. After each of its stages the two streams see each other; what
comes of that is carried along beside the backbone, whose own way it does not change. Metadata, if
any, looks at both descriptions and takes the first one's place before the answers.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from MedFusionLib.evaluation.downstream.tformer.architecture import STAGES, Architecture
from MedFusionLib.evaluation.downstream.tformer.crossing import DualCrossing
from MedFusionLib.evaluation.downstream.tformer.metadata import (
    MetadataCrossing,
    MetadataDescription,
)
from MedFusionLib.evaluation.downstream.tformer.windows import PatchMerging, WindowBlock
from MedFusionLib.methods.blocks.patch_attention import PatchEmbedding


class SwinStage(nn.Module):
    """Blocks of attention in windows, every second one shifted, and a merging of tokens."""

    def __init__(self, sizes: Architecture, stage: int, dropped: list[float]) -> None:
        super().__init__()
        dim, side = sizes.width * 2**stage, sizes.side // sizes.patch // 2**stage
        window = min(sizes.window, side)
        self.blocks = nn.Sequential(
            *(
                WindowBlock(dim, side, sizes.heads[stage], window, place % 2 == 1, chance)
                for place, chance in enumerate(dropped)
            )
        )
        last = stage == STAGES - 1
        self.merging = nn.Identity() if last else PatchMerging(dim, 2 * dim, side)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.merging(self.blocks(tokens))


class Swin(nn.Module):
    """The tokens after each of four stages, the last ones normed, of images (N, C, side, side)."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.embedding = PatchEmbedding(sizes.channels, sizes.width, sizes.patch)
        self.norm = nn.LayerNorm(sizes.width)
        chances = iter(torch.linspace(0, sizes.dropped, sum(sizes.depths)).tolist())
        self.stages = nn.ModuleList(
            SwinStage(sizes, stage, [next(chances) for _ in range(depth)])
            for stage, depth in enumerate(sizes.depths)
        )
        self.last_norm = nn.LayerNorm(sizes.widths()[-1])

    def forward(self, images: Tensor) -> Iterator[Tensor]:
        tokens = self.norm(self.embedding(images))
        for stage in self.stages[:-1]:
            tokens = stage(tokens)
            yield tokens
        yield self.last_norm(self.stages[-1](tokens))


class TFormer(nn.Module):
    """Two images (N, C, side, side) become the logits of each question, (N, answers).

    Metadata (N, numbers) joins them where ``sizes.metadata`` says how many numbers.
    """

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.sizes = sizes
        widths, sides = sizes.widths(), sizes.sides()
        self.backbone = Swin(sizes)
        self.crossings = nn.ModuleList(
            DualCrossing(width, side, heads, min(sizes.window, side), depth)
            for width, side, heads, depth in zip(
                widths, sides, sizes.crossing_heads, sizes.crossing_depths, strict=True
            )
        )
        # Between the last two stages the size stays.
        self.first_mergings, self.second_mergings = (
            nn.ModuleList(
                PatchMerging(widths[stage], widths[stage + 1], sides[stage])
                for stage in range(STAGES - 2)
            )
            for _ in range(2)
        )
        self.descriptions = nn.ModuleList(nn.Linear(widths[-1], sizes.features) for _ in range(2))
        self.answers = nn.ModuleList(nn.Linear(2 * sizes.features, n) for n in sizes.classes)
        if sizes.metadata:
            features, both = sizes.features, 2 * sizes.features
            self.metadata = MetadataDescription(sizes.metadata, features, features)
            self.metadata_crossing = MetadataCrossing(features, both, sizes.metadata_heads)

    def forward(
        self, first: Tensor, second: Tensor, metadata: Tensor | None = None
    ) -> list[Tensor]:
        one, another = self.describe(first, second)
        return self.answer(another, one if metadata is None else self.join(metadata, one, another))

    def describe(self, first: Tensor, second: Tensor) -> list[Tensor]:
        """(N, features) of each image, which has seen the other."""
        streams: list[Tensor] = []
        stages = zip(self.backbone(first), self.backbone(second), strict=True)
        for stage, tokens in enumerate(stages):
            if streams:
                carried = self._carried(streams, stage - 1)
                tokens = tuple(own + more for own, more in zip(tokens, carried, strict=True))
            streams = self._crossed(*tokens, stage)
        return [
            functional.relu(describe(stream.mean(dim=1)))
            for describe, stream in zip(self.descriptions, streams, strict=True)
        ]

    def join(self, metadata: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """(N, features) of metadata (N, numbers) that has seen the descriptions of both images."""
        return self.metadata_crossing(self.metadata(metadata), torch.cat([first, second], dim=1))

    def answer(self, one: Tensor, another: Tensor) -> list[Tensor]:
        """Logits of each question, of two descriptions (N, features)."""
        both = torch.cat([one, another], dim=1)
        return [answer(both) for answer in self.answers]

    def _carried(self, streams: list[Tensor], stage: int) -> list[Tensor]:
        if stage == STAGES - 2:
            return streams
        first, second = streams
        return [self.first_mergings[stage](first), self.second_mergings[stage](second)]

    def _crossed(self, first: Tensor, second: Tensor, stage: int) -> list[Tensor]:
        """The second image leads in the last two stages."""
        if stage < STAGES // 2:
            return list(self.crossings[stage](first, second))
        return list(self.crossings[stage](second, first))[::-1]
