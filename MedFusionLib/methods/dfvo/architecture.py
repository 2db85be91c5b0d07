"""Every width of DFVO as one value, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

OUTPUTS = ("sigmoid", "enhanced bands")
GRID = 4
"""Side of the squares of encoder pixels that become one of the base features' grid."""
KEYS_SHARE = 8
"""The attention's keys have so many times fewer maps than its values."""


@dataclass(frozen=True)
class Architecture:
    """Widths and conventions of the network; the defaults are the paper's."""

    widths: tuple[int, ...] = (16, 32, 64, 128)
    """Maps of an encoder's convolutions, the first first; the decoders return the same way."""
    base_channels: int = 256
    """Maps of the base features on their grid; a multiple of 8."""
    couplings: int = 3
    """Of each detail extractor."""
    illumination_widths: tuple[int, ...] = (32, 64, 128)
    """Maps of the convolutions that estimate the illumination; even."""
    exponent_limit: float | None = None
    """Where the exponents of the detail extractors' scales are cut."""
    fold: int = 1
    """Side of the squares of pixels that become the channels of one before the encoders."""
    illumination_cell: int = 1
    """Side of the squares of pixels that have one value of illumination, with interpolation."""
    norm_momentum: float = 0.9
    """Of the running statistics in training."""
    output: str = "sigmoid"
    """Whether the last maps are the image itself, as published, or gains on the bands of detail of
    the MR divided by its estimated illumination and of the other image (``enhanced bands``, which
    need a fold of 2)."""

    def __post_init__(self) -> None:
        if self.output not in OUTPUTS:
            raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, not '{self.output}'.")
        if self.output == "enhanced bands" and self.fold != 2:
            raise ValueError(f"Enhanced bands need a fold of 2, not of {self.fold}.")
        if self.base_channels % KEYS_SHARE or self.widths[-1] % 2:
            raise ValueError(
                f"base_channels ({self.base_channels}) must be a multiple of {KEYS_SHARE} and the "
                f"last of the widths {self.widths} even."
            )

    @property
    def stride(self) -> int:
        """H and W of the images must be multiples of this."""
        return max(self.fold * GRID, self.illumination_cell)

    def as_config(self) -> dict[str, Any]:
        """JSON-able description, the inverse of :func:`from_config`."""
        lists = {name: list(getattr(self, name)) for name in ("widths", "illumination_widths")}
        return {**asdict(self), **lists}


def from_config(config: Mapping[str, Any]) -> Architecture:
    """Architecture from what :meth:`Architecture.as_config` wrote."""
    tuples = {name: tuple(config[name]) for name in ("widths", "illumination_widths")}
    return Architecture(**{**config, **tuples})


PRESETS = {
    "paper": Architecture(),
    "compact": Architecture(
        widths=(12, 16, 24, 32),
        base_channels=48,
        couplings=2,
        illumination_widths=(16, 24, 32),
        exponent_limit=4.0,
        fold=2,
        illumination_cell=8,
        norm_momentum=0.1,
        output="enhanced bands",
    ),
}
