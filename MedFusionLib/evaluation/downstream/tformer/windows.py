"""Attention within windows of tokens: Liu et al., Swin Transformer, ICCV 2021.

Tokens are (N, side², dim), row-major over a square map. A block attends from one map to itself, or
to itself and the same windows of a second map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

FAR = -100.0
"""Added to the logits of tokens that became neighbours by the shift alone."""


class WindowAttention(nn.Module):
    """Attention from a window's tokens to those of one or several maps, by place in the window."""

    _places: Tensor

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.queries = nn.Linear(dim, dim)
        self.keys_values = nn.Linear(dim, 2 * dim)
        self.projection = nn.Linear(dim, dim)
        self.place_bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.place_bias, std=0.02)
        self.register_buffer("_places", _relative_places(window), persistent=False)

    def forward(self, tokens: Tensor, sources: Tensor, mask: Tensor | None = None) -> Tensor:
        """(W, L, dim) from as many tokens and (W, S·L, dim) of S maps; L = window².

        ``mask``: added to the logits, (windows of an image, L, L), for every map alike.
        """
        queries = _by_head(self.queries(tokens), self.heads)
        keys, values = (
            _by_head(part, self.heads) for part in self.keys_values(sources).chunk(2, dim=-1)
        )
        bias = self.place_bias[self._places].permute(2, 0, 1)[None]
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(len(tokens) // len(mask), 1, 1, 1)
        bias = bias.repeat(1, 1, 1, sources.shape[1] // tokens.shape[1])
        attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
        return self.projection(attended.transpose(1, 2).flatten(2))


class WindowBlock(nn.Module):
    """Attention in windows, then feed-forward, each on normed tokens and added to what came in.

    Args:
        side: of the square map, in tokens; a multiple of ``window``.
        shifted: whether the windows lie half a window further, which they do not where one
            window is the whole map.
        dropped: chance in training that what a part adds is left out for an image.
    """

    _mask: Tensor | None

    def __init__(
        self,
        dim: int,
        side: int,
        heads: int,
        window: int,
        shifted: bool,
        dropped: float = 0.0,
    ) -> None:
        super().__init__()
        self.side, self.window = side, window
        self.shift = window // 2 if shifted and side > window else 0
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = WindowAttention(dim, heads, window)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim, 4 * dim)
        self.kept = SometimesLeftOut(dropped)
        mask = _shift_mask(side, window, self.shift) if self.shift else None
        self.register_buffer("_mask", mask, persistent=False)

    def forward(self, tokens: Tensor, *others: Tensor) -> Tensor:
        """Tokens of the same shape, which saw their own windows and those of ``others``."""
        windows = [self._cut(self.attention_norm(one)) for one in (tokens, *others)]
        attended = self.attention(windows[0], torch.cat(windows, dim=1), self._mask)
        tokens = tokens + self.kept(self._joined(attended, len(tokens)))
        return tokens + self.kept(self.feed_forward(self.feed_forward_norm(tokens)))

    def _cut(self, tokens: Tensor) -> Tensor:
        maps = tokens.unflatten(1, (self.side, self.side))
        maps = maps.roll((-self.shift, -self.shift), dims=(1, 2))
        return _windows(maps, self.window).flatten(0, 1)

    def _joined(self, windows: Tensor, images: int) -> Tensor:
        count = self.side // self.window
        maps = windows.unflatten(0, (images, count, count)).unflatten(3, (self.window, -1))
        maps = maps.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return maps.roll((self.shift, self.shift), dims=(1, 2)).flatten(1, 2)


class FeedForward(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.expansion = nn.Linear(dim, hidden)
        self.contraction = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.contraction(functional.gelu(self.expansion(tokens)))


class PatchMerging(nn.Module):
    """Each 2×2 tokens of a map of ``rows`` become one: (N, L, dim) to (N, L / 4, target)."""

    def __init__(self, dim: int, target: int, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, target, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        maps = tokens.unflatten(1, (self.rows, -1))
        # Upper left, lower left, upper right, lower right.
        parts = [maps[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(parts, dim=-1).flatten(1, 2)))


class SometimesLeftOut(nn.Module):
    """Stochastic depth: in training, what a residual branch adds is left out for some images."""

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.chance = chance

    def forward(self, added: Tensor) -> Tensor:
        if not self.training or self.chance == 0:
            return added
        kept = torch.rand(len(added), 1, 1, device=added.device) >= self.chance
        return added * kept / (1 - self.chance)


def _by_head(tokens: Tensor, heads: int) -> Tensor:
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def _windows(maps: Tensor, window: int) -> Tensor:
    """(N, H, W, C) to (N, windows, window², C), all row-major."""
    cut = maps.unflatten(2, (-1, window)).unflatten(1, (-1, window))
    return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _relative_places(window: int) -> Tensor:
    """(L, L): which entry of the table of (2·window - 1)² displacements each pair of tokens has."""
    axis = torch.arange(window)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    down = rows.flatten()[:, None] - rows.flatten() + window - 1
    along = columns.flatten()[:, None] - columns.flatten() + window - 1
    return down * (2 * window - 1) + along


def _shift_mask(side: int, window: int, shift: int) -> Tensor:
    """(windows, L, L): 0 within what was together before the shift, `FAR` elsewhere."""
    axis = torch.zeros(side, dtype=torch.long)
    axis[-window:-shift] = 1
    axis[-shift:] = 2
    regions = 3 * axis[:, None] + axis
    cut = _windows(regions[None, :, :, None], window)[0, :, :, 0]
    return (cut[:, :, None] != cut[:, None, :]) * FAR
