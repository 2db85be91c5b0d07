"""How TFormer lets two streams see each other."""

from __future__ import annotations

from torch import Tensor, nn

from MedFusionLib.evaluation.downstream.tformer.windows import WindowBlock


class CrossingLayer(nn.Module):
    """One exchange: each direction adds its input once more, and the second stream sees the first
    as changed already."""

    def __init__(self, dim: int, side: int, heads: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.to_first = WindowBlock(dim, side, heads, window, shifted)
        self.to_second = WindowBlock(dim, side, heads, window, shifted)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        first = first + self.to_first(first, second)
        return first, second + self.to_second(second, first)


class DualCrossing(nn.Module):
    """Two streams of tokens (N, side², dim) that attend to themselves and to each other.

    Every second layer has shifted windows.
    """

    def __init__(self, dim: int, side: int, heads: int, window: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CrossingLayer(dim, side, heads, window, shifted=layer % 2 == 1)
            for layer in range(depth)
        )

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.layers:
            first, second = layer(first, second)
        return first, second
