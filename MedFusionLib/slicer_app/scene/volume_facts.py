"""What the panel's rules have to know of one volume node, as a plain value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class GridFacts:
    """Where a volume's voxels lie, as far as numbers of voxels and slices hang on it."""

    spacing: tuple[float, float, float]
    """Along I, J and K in mm."""
    shape: tuple[int, int, int]
    """Voxels along K, J and I."""
    axes: tuple[int, int, int] = (0, 1, 2)
    """Which of I, J and K follows the patient's left, posterior and superior."""


@dataclass(frozen=True)
class VolumeFacts:
    """What the panel knows of a chosen volume."""

    name: str
    modality: str = "unknown"
    modalitySource: str = "given"
    modalityReason: str = ""
    isColour: bool = False
    refusal: str | None = None
    """Why it cannot be fused, as a sentence."""
    identity: Mapping[str, str] = field(default_factory=dict)
    """Who it shows and when, under the names of ``Volume.metadata``; empty without DICOM."""
    grid: GridFacts | None = None
