"""Every width of EMMA's fusion network as one value, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

LEVELS = 4
MIXINGS = ("dense", "depthwise")
OUTPUTS = ("sigmoid", "weighted bands")


@dataclass(frozen=True)
class Architecture:
    """Widths and conventions of the U-Fuser; the defaults are the paper's."""

    widths: tuple[int, ...] = (8, 16, 32, 32)
    """Maps of the four levels, the finest first; multiples of ``heads``."""
    heads: int = 8
    """Of every attention."""
    local_blocks: int = 2
    """Residual blocks beside each attention."""
    mixing: str = "dense"
    """Which maps the 3×3 convolution of an attention mixes: all (``dense``) or each with itself
    (``depthwise``)."""
    fold: int = 1
    """Side of the squares of pixels that become the channels of one before the encoders."""
    output: str = "sigmoid"
    """Whether the last maps are the image itself, as published, or gains on the sources' own bands
    of detail (``weighted bands``, which need a fold of 2)."""

    def __post_init__(self) -> None:
        _refuse_unknown("mixing", self.mixing, MIXINGS)
        _refuse_unknown("output", self.output, OUTPUTS)
        if self.output == "weighted bands" and self.fold != 2:
            raise ValueError(f"Weighted bands need a fold of 2, not of {self.fold}.")
        if len(self.widths) != LEVELS or any(width % self.heads for width in self.widths):
            raise ValueError(
                f"widths must be {LEVELS} multiples of the {self.heads} heads, not {self.widths}."
            )

    @property
    def stride(self) -> int:
        """H and W of the images must be multiples of this."""
        return self.fold * 2 ** (LEVELS - 1)

    def as_config(self) -> dict[str, Any]:
        """JSON-able description, the inverse of :func:`from_config`."""
        return {**asdict(self), "widths": list(self.widths)}


def from_config(config: Mapping[str, Any]) -> Architecture:
    """Architecture from what :meth:`Architecture.as_config` wrote."""
    return Architecture(**{**config, "widths": tuple(config["widths"])})


def _refuse_unknown(field: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(f"{field} must be one of {', '.join(known)}, not '{name}'.")


PRESETS = {
    "paper": Architecture(),
    "compact": Architecture(
        widths=(12, 16, 24, 32), heads=4, mixing="depthwise", fold=2, output="weighted bands"
    ),
}
