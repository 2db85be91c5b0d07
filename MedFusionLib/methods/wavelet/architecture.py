"""Every width of the wavelet-pooled autoencoder as one value, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """Widths of the network; the defaults are our reconstruction's, none of them is published."""

    first: int = 16
    """Maps of the first convolution."""
    growth: int = 16
    """Maps that each convolution of a dense block adds."""
    convolutions: int = 3
    """Of a dense block."""
    pooled: int = 64
    """Maps that a wavelet pooling leaves."""
    levels: int = 2
    """Wavelet poolings; each halves the sides."""
    reduction: int = 8
    """How many times narrower the hidden layer of the channel attention is."""

    def __post_init__(self) -> None:
        if min(asdict(self).values()) < 1:
            raise ValueError(f"Every width of the wavelet autoencoder is at least 1, not {self}.")

    @property
    def stride(self) -> int:
        """H and W of the images must be multiples of this."""
        return 2**self.levels

    @property
    def added(self) -> int:
        """Maps that a dense block adds."""
        return self.convolutions * self.growth

    @property
    def widths(self) -> tuple[int, ...]:
        """Maps of the encoder's dense blocks, the finest first; the last is the bottom."""
        return (self.first + self.added, *[self.pooled + self.added] * self.levels)

    def as_config(self) -> dict[str, Any]:
        """JSON-able description, the inverse of :func:`from_config`."""
        return asdict(self)


def from_config(config: Mapping[str, Any]) -> Architecture:
    """Architecture from what :meth:`Architecture.as_config` wrote."""
    return Architecture(**config)


PRESETS = {"full": Architecture(), "compact": Architecture(first=8, growth=8, pooled=32)}
