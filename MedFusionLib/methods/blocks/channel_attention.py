"""Attention to channels by their means over the whole map."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ChannelAttention(nn.Module):
    """Unbounded weight of each channel from the means of all: (N, C, H, W) to (N, C, 1, 1)."""

    def __init__(self, width: int, reduction: int = 8) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, width // reduction, 1)
        self.expand = nn.Conv2d(width // reduction, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.expand(F.relu(self.squeeze(x.mean(dim=(2, 3), keepdim=True))))
