"""What turns the decoder's last maps into the fused image.

The published network has one map and uses it as it is. The compact preset reads its maps as
gains on the sources' own detail.
"""

from __future__ import annotations

from torch import Tensor, nn

from MedFusionLib.methods.weighted_details import WeightedDetails


class LinearOutput(nn.Module):
    """The decoder's one map itself, unbounded: the authors' convention."""

    channels = 1

    def forward(self, decoded: Tensor, image1: Tensor, image2: Tensor) -> Tensor:
        return decoded


OUTPUTS: dict[str, type[LinearOutput] | type[WeightedDetails]] = {
    "linear": LinearOutput,
    "weighted details": WeightedDetails,
}
