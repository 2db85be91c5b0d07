"""Every width of ASFE-Fusion as one value, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

LEVELS = 4


@dataclass(frozen=True)
class ConvolutionalWidths:
    """Widths of encoder and decoder, in channels, and what stands before and after them.

    The hidden widths follow the authors' rule (half of the level's input width in the encoder,
    half of the level's own width in the decoder) unless they are given.
    """

    widths: tuple[int, ...]
    """Stem and the four levels, from full to eighth resolution."""
    patch: int
    """Side of the patches of the fusion, in pixels of each level."""
    dim: int
    """Length of a patch token."""
    heads: int
    encoder_hidden: tuple[int, ...] = ()
    decoder_hidden: tuple[int, ...] = ()
    decoder_outputs: tuple[int, ...] = ()
    fold: int = 1
    """Side of the squares of pixels that become the channels of one before the encoder."""
    output: str = "linear"
    """Name of the output convention, a key of ``outputs.OUTPUTS``."""

    def __post_init__(self) -> None:
        if len(self.widths) != LEVELS + 1:
            raise ValueError(f"widths must be the stem and {LEVELS} levels, not {self.widths}.")
        if self.dim % self.heads:
            raise ValueError(f"dim ({self.dim}) must be a multiple of heads ({self.heads}).")
        # A frozen dataclass completes its own fields through object.__setattr__.
        for name, rule in self._hidden_by_rule().items():
            object.__setattr__(self, name, tuple(getattr(self, name)) or rule)
        object.__setattr__(self, "widths", tuple(self.widths))

    @property
    def stride(self) -> int:
        """H and W of the images must be multiples of this: one patch at the coarsest level."""
        return self.fold * self.patch * 2 ** (LEVELS - 1)

    def as_config(self) -> dict[str, Any]:
        """JSON-able description, from which the class is built again by its fields' names."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    def _hidden_by_rule(self) -> dict[str, tuple[int, ...]]:
        levels = self.widths[1:]
        return {
            "encoder_hidden": tuple(width // 2 for width in self.widths[:-1]),
            "decoder_hidden": (8, *(width // 2 for width in levels[:-1])),
            "decoder_outputs": (16, *levels[:-1]),
        }


@dataclass(frozen=True)
class Architecture(ConvolutionalWidths):
    """Widths of ASFE-Fusion; the defaults are the paper's."""

    widths: tuple[int, ...] = (64, 112, 160, 208, 256)
    patch: int = 16
    dim: int = 256
    heads: int = 8
    experts: int = 4
    slots: int = 256
    """Slots per expert."""
    spectrum: str = "published"
    """How the frequency filter goes back to complex numbers, a key of ``SPECTRA``."""
    mixture: str = "alone"
    """Whether the experts' answer replaces their input, a key of ``experts.MIXTURES``."""


def from_config(config: Mapping[str, Any]) -> Architecture:
    """Architecture from what :meth:`ConvolutionalWidths.as_config` wrote."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in config.items()
    }
    return Architecture(**fields)


PRESETS = {
    "paper": Architecture(),
    "compact": Architecture(
        widths=(16, 20, 28, 40, 48),
        patch=4,
        dim=32,
        heads=4,
        slots=8,
        decoder_hidden=(24, 24, 24, 28),
        decoder_outputs=(24, 24, 28, 40),
        spectrum="regrouped",
        fold=2,
        mixture="added",
        output="weighted bands",
    ),
}
