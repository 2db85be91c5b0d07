"""The width of Hi-Net, and which sequences it takes and gives, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

SEQUENCES = ("T1", "T1c", "T2", "PD", "FLAIR")
"""MR sequences that the networks take and give; T1c is T1 with contrast medium."""
LEVELS = 3


@dataclass(frozen=True)
class Architecture:
    """The width of the first level is the paper's by default."""

    width: int = 32
    """Maps at full resolution; each of the three levels below has twice as many as the one above,
    the third one four times."""
    inputs: tuple[str, str] = ("T1", "T2")
    """Of ``SEQUENCES``, in the order in which the network takes them."""
    target: str = "FLAIR"
    """Of ``SEQUENCES``."""
    expects_error: bool = False
    """Whether the network also says how far off it expects to be (not part of the paper's)."""

    def __post_init__(self) -> None:
        roles = (*self.inputs, self.target)
        if unknown := [role for role in roles if role not in SEQUENCES]:
            raise ValueError(f"'{unknown[0]}' is not one of the sequences {', '.join(SEQUENCES)}.")
        if len(set(roles)) != 3:
            raise ValueError(
                f"Two different inputs and a third sequence are needed, not {', '.join(roles)}."
            )
        if self.width < 1:
            raise ValueError(f"width must be at least 1, not {self.width}.")

    @property
    def stride(self) -> int:
        """H and W of the images must be multiples of this."""
        return 2**LEVELS

    def as_config(self) -> dict[str, Any]:
        """JSON-able description, the inverse of :func:`from_config`."""
        return {**asdict(self), "inputs": list(self.inputs)}


def from_config(config: Mapping[str, Any]) -> Architecture:
    """Architecture from what :meth:`Architecture.as_config` wrote."""
    first, second = config["inputs"]
    return Architecture(**{**config, "inputs": (first, second)})


PRESETS = {
    "paper": Architecture(),
    "compact": Architecture(8, ("T1", "PD"), "T2", expects_error=True),
}
