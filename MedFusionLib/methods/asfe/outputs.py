"""What turns the decoder's last maps into the fused image.

The published network has one map and uses it as it is. The compact preset reads its maps as
gains on the sources' own bands of detail.
"""

from __future__ import annotations

from torch import Tensor, nn

from MedFusionLib.methods.weighted_bands import FoldedBands


class LinearOutput(nn.Module):
    """The decoder's one map itself, unbounded: the authors' convention."""

    channels = 1

    def uncut(self, decoded: Tensor, image1: Tensor, image2: Tensor) -> Tensor:
        return decoded

    def cut(self, uncut: Tensor, image1: Tensor, image2: Tensor) -> Tensor:
        return uncut


OUTPUTS: dict[str, type[LinearOutput] | type[FoldedBands]] = {
    "linear": LinearOutput,
    "weighted bands": FoldedBands,
}
