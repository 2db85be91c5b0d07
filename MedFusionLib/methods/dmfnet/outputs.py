"""What makes the fused slice out of the fusion head's map.

All tensors are (N, 1, H, W); the sources and the result are in [0, 1], the map in (-1, 1).
"""

import torch
from torch import Tensor, nn


class TanhOutput(nn.Module):
    """The map itself is the fused image, scaled from (-1, 1): the authors' convention."""

    def forward(self, head_map: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        return ((head_map + 1) / 2).clamp(0, 1)


class ResidualOverMaximum(nn.Module):
    """The map corrects the brighter source; where both sources are zero, so is the result."""

    def forward(self, head_map: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        brighter = torch.maximum(reference, other)
        return (brighter + head_map).clamp(0, 1) * (brighter > 0)


OUTPUTS: dict[str, type[nn.Module]] = {
    "tanh": TanhOutput,
    "residual over maximum": ResidualOverMaximum,
}
