"""What turns the decoder's last maps into the fused image.

The published network has one map and shows it through a sigmoid. The compact preset reads its maps
as gains on the sources' own bands of detail, so that it can draw nothing that no source shows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.emma.architecture import Architecture
from MedFusionLib.methods.weighted_bands import FoldedBands


class SigmoidOutput(nn.Module):
    """The map itself, between 0 and 1; of a folded network, one map per pixel of a square."""

    def __init__(self, fold: int) -> None:
        super().__init__()
        self.fold = fold
        self.channels = fold**2

    def uncut(self, maps: Tensor, image1: Tensor, image2: Tensor) -> Tensor:
        return torch.sigmoid(F.pixel_shuffle(maps, self.fold))

    def cut(self, uncut: Tensor, image1: Tensor, image2: Tensor) -> Tensor:
        return uncut


def build_output(architecture: Architecture) -> SigmoidOutput | FoldedBands:
    """The output that an architecture names."""
    if architecture.output == "weighted bands":
        return FoldedBands()
    return SigmoidOutput(architecture.fold)
