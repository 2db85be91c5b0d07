"""Every width of CoCoNet as one value, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

LEVELS = 4
OUTPUTS = ("tanh", "weighted bands")
SMALLEST_STRIDE = 16
"""The authors pad to multiples of 16, twice what the halvings need."""


@dataclass(frozen=True)
class Architecture:
    """Widths and conventions of the network; the defaults are the paper's."""

    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Maps of the four levels, the finest first."""
    encoder_depths: tuple[int, ...] = (2, 2, 4)
    """Convolutions of each block of the frozen encoder, whose widths are the coarser levels'."""
    fold: int = 1
    """Side of the squares of pixels that become the channels of one before the network."""
    output: str = "tanh"
    """Whether the last map is the image itself, as published, or the last maps are gains on the
    sources' own bands of detail (``weighted bands``, which need a fold of 2)."""

    def __post_init__(self) -> None:
        if self.output not in OUTPUTS:
            raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, not '{self.output}'.")
        if self.fold != (2 if self.output == "weighted bands" else 1):
            raise ValueError(
                f"Weighted bands need a fold of 2 and tanh one of 1, not of {self.fold}."
            )
        if len(self.widths) != LEVELS or len(self.encoder_depths) != LEVELS - 1:
            raise ValueError(
                f"CoCoNet has {LEVELS} widths and {LEVELS - 1} encoder depths, not "
                f"{self.widths} and {self.encoder_depths}."
            )

    @property
    def stride(self) -> int:
        """H and W of the images must be multiples of this."""
        return max(SMALLEST_STRIDE, self.fold * 2 ** (LEVELS - 1))

    def as_config(self) -> dict[str, Any]:
        """JSON-able description, the inverse of :func:`from_config`."""
        lists = {"widths": list(self.widths), "encoder_depths": list(self.encoder_depths)}
        return {**asdict(self), **lists}


def from_config(config: Mapping[str, Any]) -> Architecture:
    """Architecture from what :meth:`Architecture.as_config` wrote."""
    tuples = {name: tuple(config[name]) for name in ("widths", "encoder_depths")}
    return Architecture(**{**config, **tuples})


PRESETS = {
    "paper": Architecture(),
    "compact": Architecture(
        widths=(16, 24, 40, 56), encoder_depths=(2, 2, 2), fold=2, output="weighted bands"
    ),
}
