"""What DFVO makes of the MR before its encoders, and of its last maps.

The published network does nothing to the MR and shows one map through a sigmoid. The compact preset
divides the MR by its illumination first, and reads its maps as gains on the bands of detail of what
it fuses, so that it can draw nothing that no source shows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.dfvo.architecture import Architecture
from MedFusionLib.methods.dfvo.layers import Enhancement
from MedFusionLib.methods.weighted_bands import FoldedBands


class SigmoidOutput(nn.Module):
    """The map itself, between 0 and 1; of a folded network, one map per pixel of a square."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.fold = architecture.fold
        self.channels = self.fold**2

    def enhanced(self, reference: Tensor) -> Tensor:
        """The MR that is fused: as it is."""
        return reference

    def uncut(self, maps: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        return torch.sigmoid(F.pixel_shuffle(maps, self.fold))

    def cut(self, uncut: Tensor) -> Tensor:
        return uncut


class EnhancedBands(nn.Module):
    """Bands of detail of the MR divided by its illumination, and of the other image."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.enhancement = Enhancement(architecture)
        self.bands = FoldedBands()
        self.channels = self.bands.channels

    def enhanced(self, reference: Tensor) -> Tensor:
        """The MR that is fused: divided by its illumination."""
        return self.enhancement(reference)

    def uncut(self, maps: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        """``reference`` is the enhanced MR; dark in the result where both sources are dark."""
        drawn = self.bands.uncut(maps, reference, other)
        return torch.minimum(drawn, self.bands.highest(reference, other))

    def cut(self, uncut: Tensor) -> Tensor:
        return uncut.clamp(0, 1)


def build_output(architecture: Architecture) -> SigmoidOutput | EnhancedBands:
    """The output that an architecture names."""
    if architecture.output == "enhanced bands":
        return EnhancedBands(architecture)
    return SigmoidOutput(architecture)
