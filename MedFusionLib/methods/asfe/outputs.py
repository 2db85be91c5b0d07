"""What turns the decoder's one-channel map into the fused image.

The published network uses the map as it is. The compact preset reads it as a correction of the
brighter source, which makes a black background exact and cannot leave the value range.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearOutput(nn.Module):
    """The decoder's map itself, unbounded: the authors' convention."""

    def forward(self, decoded: Tensor, image1: Tensor, image2: Tensor) -> Tensor:
        return decoded


class ResidualOverMaximum(nn.Module):
    """Brighter source plus the decoder's map, in [0, 1], zero where both sources are zero."""

    def forward(self, decoded: Tensor, image1: Tensor, image2: Tensor) -> Tensor:
        brighter = torch.maximum(image1, image2)
        return (brighter + decoded).clamp(0, 1) * (brighter > 0)


OUTPUTS: dict[str, type[nn.Module]] = {
    "linear": LinearOutput,
    "residual over maximum": ResidualOverMaximum,
}
