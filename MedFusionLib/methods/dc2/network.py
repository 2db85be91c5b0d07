"""DC2Fusion: two streams of tokens, whose blocks look at each other at places that they choose.

The network of arXiv 2310.06291 as its authors published it; what their description leaves open is
told in docs/models/dc2.md.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from MedFusionLib.methods.dc2.architecture import Architecture
from MedFusionLib.methods.dc2.block import Channels, CrossBlock
from MedFusionLib.methods.dc2.outputs import output_layer

Streams = tuple[Tensor, Tensor]


class Stage(nn.Module):
    """Blocks of one width: each changes one stream and then, by what came out, the other."""

    def __init__(self, blocks: list[CrossBlock]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, streams: Streams) -> Streams:
        first, second = streams
        for block in self.blocks:
            first = block(first, second)
            second = block(second, first)
        return first, second


class DC2Fusion(nn.Module):
    """Reference and other (N, 1, D, H, W) in [0, 1] to the fused volume.

    D, H and W must be multiples of ``architecture.stride``.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        widths, patch = architecture.widths, architecture.patch
        self.embedding = nn.Conv3d(1, widths[0], patch, stride=patch)
        encoder, decoder = _stages(architecture)
        self.encoder, self.decoder = nn.ModuleList(encoder), nn.ModuleList(decoder)
        self.reductions = nn.ModuleList(
            _resized(nn.Conv3d(width, 2 * width, 2, stride=2), 2 * width) for width in widths[:-1]
        )
        self.encoder_norm = nn.LayerNorm(widths[-1])
        self.enlargements = nn.ModuleList(
            _resized(nn.ConvTranspose3d(2 * width, width, 2, stride=2), width)
            for width in reversed(widths[:-1])
        )
        self.skips = nn.ModuleList(nn.Linear(2 * width, width) for width in reversed(widths[:-1]))
        self.decoder_norm = nn.LayerNorm(2 * widths[0])
        self.output = output_layer(architecture.output, widths[0], patch)

    def forward(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.output.cut(self.uncut(reference, other), reference, other)

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        """The fused volume before it is cut to the range that can be shown."""
        _refuse_other_sizes(reference, self.architecture.stride)
        return self.output.uncut(self.features(reference, other), reference, other)

    def features(self, reference: Tensor, other: Tensor) -> Tensor:
        """The last tokens of both streams as maps (N, 2 widths[0], D/patch, H/patch, W/patch)."""
        streams: Any = tuple(self.embedding(image).movedim(1, -1) for image in (reference, other))
        kept: list[Streams] = []
        for number, stage in enumerate(self.encoder):
            streams = stage(streams)
            if number < len(self.reductions):
                kept.append(streams)
                streams = _each(self.reductions[number], streams)
        streams = _each(self.encoder_norm, streams)
        for number, stage in enumerate(self.decoder):
            if number > 0:
                streams = _each(self.enlargements[number - 1], streams)
                skip = self.skips[number - 1]
                joined = zip(streams, kept.pop(), strict=True)
                streams = tuple(skip(torch.cat(pair, dim=-1)) for pair in joined)
            streams = stage(streams)
        return self.decoder_norm(torch.cat(streams, dim=-1)).movedim(-1, 1)


def _each(layer: nn.Module, streams: Streams) -> Streams:
    return layer(streams[0]), layer(streams[1])


def _resized(convolution: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(Channels(convolution), nn.LayerNorm(width))


def _stages(architecture: Architecture) -> tuple[list[Stage], list[Stage]]:
    """The encoder's and the decoder's stages, in the order in which tokens meet them."""
    plan = [
        (width, heads)
        for width, heads, depth in zip(
            architecture.widths, architecture.heads, architecture.depths, strict=True
        )
        for _ in range(depth)
    ]
    rates = [architecture.drop_path * place / max(len(plan) - 1, 1) for place in range(len(plan))]
    encoder = _grouped(architecture, list(zip(plan, rates, strict=True)))
    decoder = _grouped(architecture, list(zip(reversed(plan), reversed(rates), strict=True)))
    return encoder, decoder


def _grouped(
    architecture: Architecture, planned: list[tuple[tuple[int, int], float]]
) -> list[Stage]:
    by_width: dict[int, list[CrossBlock]] = {}
    for (width, heads), rate in planned:
        by_width.setdefault(width, []).append(CrossBlock(width, heads, architecture, rate))
    return [Stage(blocks) for blocks in by_width.values()]


def _refuse_other_sizes(volume: Tensor, stride: int) -> None:
    if any(length % stride for length in volume.shape[-3:]):
        size = "×".join(str(length) for length in volume.shape[-3:])
        raise ValueError(
            f"DC2Fusion takes volumes whose sides are multiples of {stride} voxels, not {size}."
        )
