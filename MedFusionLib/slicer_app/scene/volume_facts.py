"""What the panel's rules have to know of one volume node, as a plain value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VolumeFacts:
    """What the panel knows of a chosen volume."""

    name: str
    modality: str = "unknown"
    modalitySource: str = "given"
    modalityReason: str = ""
    isColour: bool = False
