"""What makes the fused slice out of the fusion head's maps.

Sources and result are (N, 1, H, W) in [0, 1], the maps (N, channels, H, W) in (-1, 1).
"""

import math

from torch import Tensor, nn

from MedFusionLib.methods.weighted_bands import WeightedBands

_REACH = 4.0


class TanhOutput(nn.Module):
    """The only map itself is the fused image, scaled from (-1, 1): the authors' convention."""

    channels = 1

    def uncut(self, maps: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        return (maps + 1) / 2

    def cut(self, uncut: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        return uncut.clamp(0, 1)

    def forward(self, maps: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        return self.cut(self.uncut(maps, reference, other), reference, other)


class HeadBands(WeightedBands):
    """Gains on the sources' bands; the head's hyperbolic tangents reach far enough times four."""

    start = tuple(math.atanh(value / _REACH) for value in WeightedBands.start)

    def uncut(self, maps: Tensor, *images: Tensor) -> Tensor:
        return super().uncut(_REACH * maps, *images)


OUTPUTS: dict[str, type[TanhOutput] | type[HeadBands]] = {
    "tanh": TanhOutput,
    "weighted bands": HeadBands,
}
