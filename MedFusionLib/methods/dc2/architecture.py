"""Every width of DC2Fusion as one value, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

OUTPUTS = ("l1 norm weights", "weighted bands")


@dataclass(frozen=True)
class Architecture:
    """Widths and conventions of the network; the defaults are the paper's."""

    embedding: int = 48
    """Channels of the finest tokens; twice as many at each coarser stage."""
    patch: int = 4
    """Side of the cubes of voxels that become one token."""
    depths: tuple[int, ...] = (2, 2, 6, 2)
    """Blocks of the encoder's stages; the decoder has as many, in reverse."""
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 2
    """Side of the cubes of tokens that attend to each other."""
    kernel: int = 7
    """Side of the grouped convolution of the other branch."""
    gate_reduction: int = 8
    """A gate's hidden channels are so many times fewer than the block's."""
    expansion: int = 4
    """Hidden channels of a block's feed-forward, as a multiple of its own."""
    drop_path: float = 0.2
    """Probability with which training leaves the last block out; the first is never left out."""
    output: str = "l1 norm weights"
    """How the fused volume is made, of ``OUTPUTS``."""

    def __post_init__(self) -> None:
        if self.output not in OUTPUTS:
            raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, not '{self.output}'.")
        if len(self.depths) != len(self.heads):
            raise ValueError(f"There are {len(self.depths)} depths, but {len(self.heads)} heads.")
        for width, heads in zip(self.widths, self.heads, strict=True):
            if width % heads or width % self.gate_reduction:
                raise ValueError(
                    f"The width {width} must be a multiple of its {heads} heads and of the gates' "
                    f"reduction {self.gate_reduction}."
                )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage, finest first."""
        return tuple(self.embedding << stage for stage in range(len(self.depths)))

    @property
    def stride(self) -> int:
        """D, H and W of the volumes must be multiples of this."""
        return self.patch << (len(self.depths) - 1)

    def as_config(self) -> dict[str, Any]:
        """JSON-able description, the inverse of :func:`from_config`."""
        return asdict(self)


def from_config(config: Mapping[str, Any]) -> Architecture:
    """Architecture from what :meth:`Architecture.as_config` wrote."""
    lists = {name: tuple(value) for name, value in config.items() if isinstance(value, list)}
    return Architecture(**{**config, **lists})


PRESETS = {
    "paper": Architecture(),
    "compact": Architecture(
        embedding=16,
        depths=(1, 1, 1),
        heads=(2, 4, 8),
        gate_reduction=4,
        drop_path=0.0,
        output="weighted bands",
    ),
}
