"""The block of DC2Fusion: one stream's tokens attend to the other's, which may lie a voxel aside.

All tokens are (N, D, H, W, C), channels last.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.dc2.architecture import Architecture


class Channels(nn.Module):
    """A layer for volumes (N, C, D, H, W) applied to tokens (N, D, H, W, C)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layer(tokens.movedim(-1, 1)).movedim(1, -1)


class Offsets(nn.Module):
    """Where each token of one stream looks in the other: up to about one token along each axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = 2 * width
        self.layers = nn.Sequential(
            nn.Linear(hidden, hidden),
            Channels(nn.Conv3d(hidden, hidden, 3, padding=1, groups=hidden)),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Linear(hidden, 3, bias=False),
        )

    def forward(self, tokens: Tensor, other: Tensor) -> Tensor:
        """(N, D, H, W, 3), x, y and z as ``grid_sample`` has them: 2 is the whole volume."""
        depth, height, width = tokens.shape[1:4]
        steps = 2 / tokens.new_tensor([width, height, depth])
        return torch.tanh(self.layers(torch.cat([tokens, other], dim=-1))) * steps


def sampled(tokens: Tensor, offsets: Tensor) -> Tensor:
    """Tokens at their own places moved by ``offsets``, interpolated linearly.

    Beyond the border the outermost tokens continue.
    """
    axes = [torch.linspace(-1, 1, length, device=tokens.device) for length in tokens.shape[1:4]]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1).to(tokens.dtype)
    found = F.grid_sample(
        tokens.movedim(-1, 1),
        places + offsets,
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return found.movedim(1, -1)


class WindowAttention(nn.Module):
    """Attention within cubes of tokens: queries and values of one stream, keys of the other.

    As published there is no softmax: what a token takes of another is their product.
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.projection = nn.Linear(width, width)

    def forward(self, tokens: Tensor, other: Tensor, gate: Tensor) -> Tensor:
        """``gate`` (N, 1, 1, 1, C) in [0, 1] is what of each value channel takes part."""
        size = tokens.shape[1:4]
        query, key, value = (
            self._in_windows(part)
            for part in (self.query(tokens), self.key(other), self.value(tokens) * gate)
        )
        products = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        return self.projection(self._joined(products @ value, size))

    def _padded(self, size: tuple[int, ...]) -> list[int]:
        return [-(-length // self.window) * self.window for length in size]

    def _in_windows(self, tokens: Tensor) -> Tensor:
        """(N · windows, heads, tokens of a window, C / heads); zeros fill up the last windows."""
        grown = self._padded(tokens.shape[1:4])
        missing = [
            grown_to - length for grown_to, length in zip(grown, tokens.shape[1:4], strict=True)
        ]
        tokens = F.pad(tokens, (0, 0, 0, missing[2], 0, missing[1], 0, missing[0]))
        count, side = len(tokens), self.window
        d, h, w = (length // side for length in grown)
        cubes = tokens.view(count, d, side, h, side, w, side, self.heads, -1)
        return cubes.permute(0, 1, 3, 5, 7, 2, 4, 6, 8).reshape(
            count * d * h * w, self.heads, side**3, -1
        )

    def _joined(self, cubes: Tensor, size: tuple[int, ...]) -> Tensor:
        side, grown = self.window, self._padded(size)
        d, h, w = (length // side for length in grown)
        split = cubes.view(-1, d, h, w, self.heads, side, side, side, cubes.shape[-1])
        tokens = split.permute(0, 1, 5, 2, 6, 3, 7, 4, 8).reshape(len(split), *grown, -1)
        return tokens[:, : size[0], : size[1], : size[2]]


def gate(width: int, hidden: int, outputs: int) -> nn.Sequential:
    """Shares in [0, 1] of ``outputs`` channels from ``width``."""
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.LayerNorm(hidden),
        nn.GELU(),
        nn.Linear(hidden, outputs),
        nn.Sigmoid(),
    )


class LocalBranch(nn.Module):
    """What a convolution sees of both streams; each of its channels looks at two of theirs."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.mixing = nn.Conv3d(2 * width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.BatchNorm3d(width)
        self.projection = nn.Linear(width, width)

    def forward(self, tokens: Tensor, other: Tensor) -> Tensor:
        both = torch.cat([tokens, other], dim=-1).movedim(-1, 1)
        return self.projection(F.gelu(self.norm(self.mixing(both))).movedim(1, -1))


class CrossBlock(nn.Module):
    """Tokens of one stream, changed by what the other has at, or up to a token beside, each place.

    An attention and a convolution run side by side, and each gates the other.
    """

    def __init__(
        self, width: int, heads: int, architecture: Architecture, drop_path: float
    ) -> None:
        super().__init__()
        hidden = width // architecture.gate_reduction
        self.norm = nn.LayerNorm(width)
        self.offsets = Offsets(width)
        self.local = LocalBranch(width, architecture.kernel)
        self.attention = WindowAttention(width, heads, architecture.window)
        self.channel_gate = gate(width, hidden, width)
        self.spatial_gate = gate(width, hidden, 1)
        self.attention_norm = nn.LayerNorm(width)
        self.joining = nn.Linear(2 * width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, architecture.expansion * width),
            nn.GELU(),
            nn.Linear(architecture.expansion * width, width),
        )
        self.drop_path = drop_path

    def forward(self, tokens: Tensor, other: Tensor) -> Tensor:
        normed = self.norm(tokens)
        beside = sampled(other, self.offsets(normed, other))
        local = self.local(normed, beside)
        channels = self.channel_gate(local.mean(dim=(1, 2, 3), keepdim=True))
        attended = self.attention(normed, beside, channels)
        local = local * self.spatial_gate(attended)
        joined = self.joining(torch.cat([local, self.attention_norm(attended)], dim=-1))
        tokens = tokens + self._dropped(joined)
        return tokens + self._dropped(self.feed_forward(tokens))

    def _dropped(self, change: Tensor) -> Tensor:
        """While training, all of a sample's change or nothing, of the same mean."""
        if not self.training or self.drop_path == 0:
            return change
        kept = 1 - self.drop_path
        return change * torch.empty_like(change[:, :1, :1, :1, :1]).bernoulli_(kept) / kept
