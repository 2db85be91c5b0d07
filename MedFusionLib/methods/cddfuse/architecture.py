"""Every width of CDDFuse as one value, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

SKIPS = ("none", "reference", "sum")
MIXINGS = ("dense", "depthwise")


@dataclass(frozen=True)
class Architecture:
    """Widths and conventions of the network; the defaults are the paper's, as it was trained."""

    channels: int = 64
    """Of all maps between the first and the last convolution; a multiple of 2 and of the heads."""
    expansion: float = 2.0
    """Hidden maps of the Restormer blocks' feed-forward, as a multiple of ``channels``."""
    encoder_blocks: int = 4
    decoder_blocks: int = 4
    encoder_heads: int = 8
    decoder_heads: int = 8
    base_heads: int = 8
    """Of the encoder's base extractor."""
    fusion_heads: int = 8
    """Of the fusion of the base features."""
    detail_couplings: int = 3
    """Of the encoder's detail extractor."""
    fusion_couplings: int = 1
    """Of the fusion of the detail features."""
    base_mixing: str = "dense"
    """Which maps the 3×3 convolution of a base extractor's attention mixes: all (``dense``) or
    each with itself (``depthwise``)."""
    exponent_limit: float | None = None
    """Where the exponents of the detail extractors' scales are cut."""
    fold: int = 1
    """Side of the squares of pixels that become the channels of one before the encoder."""
    skip: str = "reference"
    """What is added before the last sigmoid, of ``SKIPS``. The published training adds MR; of the
    published weights, those for medical images add nothing and those for infrared ones the sum of
    the sources."""

    def __post_init__(self) -> None:
        if self.skip not in SKIPS:
            raise ValueError(f"skip must be one of {', '.join(SKIPS)}, not '{self.skip}'.")
        if self.base_mixing not in MIXINGS:
            raise ValueError(
                f"base_mixing must be one of {', '.join(MIXINGS)}, not '{self.base_mixing}'."
            )
        heads = (self.encoder_heads, self.decoder_heads, self.base_heads, self.fusion_heads)
        if self.channels % 2 or any(self.channels % count for count in heads):
            raise ValueError(
                f"channels ({self.channels}) must be even and a multiple of the heads {heads}."
            )

    @property
    def stride(self) -> int:
        """H and W of the images must be multiples of this."""
        return self.fold

    def as_config(self) -> dict[str, Any]:
        """JSON-able description, the inverse of :func:`from_config`."""
        return asdict(self)


def from_config(config: Mapping[str, Any]) -> Architecture:
    """Architecture from what :meth:`Architecture.as_config` wrote."""
    return Architecture(**config)


PRESETS = {
    "paper": Architecture(),
    "compact": Architecture(
        channels=24,
        encoder_blocks=2,
        decoder_blocks=2,
        encoder_heads=4,
        decoder_heads=4,
        base_heads=4,
        fusion_heads=4,
        base_mixing="depthwise",
        exponent_limit=4.0,
        fold=2,
    ),
}
