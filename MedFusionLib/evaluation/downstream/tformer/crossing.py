"""How TFormer lets two streams see each other."""

from __future__ import annotations

from torch import Tensor, nn

from MedFusionLib.evaluation.downstream.tformer.windows import WindowBlock


class DualCrossing(nn.Module):
    """Two streams of tokens (N, side², dim) that attend to themselves and to each other.

    Each direction adds its input once more, and the second stream sees the first as changed
    already. Every second layer has shifted windows.
    """

    def __init__(self, dim: int, side: int, heads: int, window: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                WindowBlock(dim, side, heads, window, shifted=layer % 2 == 1) for _ in range(2)
            )
            for layer in range(depth)
        )

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.layers:
            to_first, to_second = layer  # type: ignore[misc]
            first = first + to_first(first, second)
            second = second + to_second(second, first)
        return first, second
