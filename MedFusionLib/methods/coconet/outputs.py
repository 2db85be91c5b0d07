"""What turns the decoder's last maps into the fused image.

The published network has one map and shows it through a hyperbolic tangent. The compact preset
reads its maps as gains on the sources' own bands of detail.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MedFusionLib.methods.coconet.architecture import Architecture
from MedFusionLib.methods.weighted_bands import FoldedBands


class TangentOutput(nn.Module):
    """The map itself, from [-1, 1] to [0, 1]."""

    channels = 1

    def uncut(self, maps: Tensor, image1: Tensor, image2: Tensor) -> Tensor:
        return (torch.tanh(maps) + 1) / 2

    def cut(self, uncut: Tensor, image1: Tensor, image2: Tensor) -> Tensor:
        return uncut


def build_output(architecture: Architecture) -> TangentOutput | FoldedBands:
    """The output that an architecture names."""
    return FoldedBands() if architecture.output == "weighted bands" else TangentOutput()
