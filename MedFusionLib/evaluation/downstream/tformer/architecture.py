"""Sizes of TFormer, and the two that are used: the paper's and a compact one."""

from __future__ import annotations

from dataclasses import dataclass

STAGES = 4


@dataclass(frozen=True)
class Architecture:
    """Every entry of a tuple belongs to one of the four stages."""

    channels: int
    """Of each of the two images."""
    side: int
    """Of the square images, in pixels."""
    patch: int
    width: int
    """Of the tokens of the first stage; it doubles from stage to stage."""
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    window: int
    crossing_depths: tuple[int, int, int, int]
    crossing_heads: tuple[int, int, int, int]
    features: int
    """Numbers that each image is described by in the end."""
    classes: tuple[int, ...]
    """Answers to each question that is asked of the pair."""
    dropped: float
    """Chance that the last block is left out in training; it rises from 0 at the first."""
    metadata: int = 0
    """Numbers that are known of a patient beside the images; none without that branch."""
    metadata_heads: int = 8

    def widths(self) -> tuple[int, ...]:
        """Of the tokens after each stage, which the next one takes."""
        return tuple(self.width * 2 ** min(stage + 1, STAGES - 1) for stage in range(STAGES))

    def sides(self) -> tuple[int, ...]:
        """Of the map of tokens after each stage."""
        first = self.side // self.patch
        return tuple(first // 2 ** min(stage + 1, STAGES - 1) for stage in range(STAGES))


PAPER = Architecture(
    channels=3,
    side=224,
    patch=4,
    width=96,
    depths=(2, 2, 6, 2),
    heads=(3, 6, 12, 24),
    window=7,
    crossing_depths=(1, 1, 2, 1),
    crossing_heads=(6, 6, 6, 12),
    features=128,
    classes=(5, 3, 2, 3, 3, 3, 3, 2),
    dropped=0.2,
    metadata=20,
)


def compact(classes: int, metadata: int = 0) -> Architecture:
    """For two grey images, perhaps with ``metadata`` numbers, and one question, on a CPU."""
    return Architecture(
        channels=1,
        side=64,
        patch=4,
        width=16,
        depths=(1, 1, 2, 1),
        heads=(1, 2, 4, 8),
        window=4,
        crossing_depths=(1, 1, 1, 1),
        crossing_heads=(2, 4, 4, 8),
        features=32,
        classes=(classes,),
        dropped=0.1,
        metadata=metadata,
        metadata_heads=4,
    )
