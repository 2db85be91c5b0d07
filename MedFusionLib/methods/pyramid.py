"""Laplacian pyramid fusion (Burt and Adelson, IEEE Trans. Commun. 31:532-540, 1983)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

LEVELS = 4
BASES: dict[str, Callable[[Tensor], Tensor]] = {
    "average": lambda bases: bases.sort(dim=0).values.mean(dim=0),
    "maximum": lambda bases: bases.amax(dim=0),
    "reference": lambda bases: bases[0],
    "other": lambda bases: bases[1:].amax(dim=0),
}
"""Of the bases of all sources (S, N, 1, H, W), the reference first."""


class Pyramid:
    """The stronger Laplacian coefficient of each scale, over a base fused by a chosen rule."""

    name = "pyramid"
    stride = 2**LEVELS

    def __init__(self, base: str = "maximum") -> None:
        if base not in BASES:
            known = ", ".join(BASES)
            raise ValueError(f"The pyramid has no base rule '{base}'. Choose one of: {known}.")
        self._fuse_base = BASES[base]

    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        """Fuse two batches (N, 1, H, W) in [0, 1], H and W multiples of 16."""
        return self.fuse_many(reference, [other], slice_indices)

    def fuse_many(
        self,
        reference: Tensor,
        others: Sequence[Tensor],
        slice_indices: Sequence[int] | None = None,
    ) -> Tensor:
        """Fuse any number of them."""
        details, bases = zip(
            *(decompose(source, LEVELS) for source in (reference, *others)), strict=True
        )
        fused = self._fuse_base(torch.stack(bases))
        for level in reversed(range(LEVELS)):
            fused = expand(fused) + functools.reduce(_stronger, (one[level] for one in details))
        return fused.clamp(0, 1)


def _stronger(one: Tensor, two: Tensor) -> Tensor:
    return torch.where(one.abs() >= two.abs(), one, two)


def decompose(image: Tensor, levels: int) -> tuple[list[Tensor], Tensor]:
    """Laplacian details, finest first, and the base. ``collapse`` is their exact inverse."""
    details = []
    for _ in range(levels):
        smaller = reduce(image)
        details.append(image - expand(smaller))
        image = smaller
    return details, image


def collapse(details: list[Tensor], base: Tensor) -> Tensor:
    """Put an image together again from its details, finest first, and its base."""
    for detail in reversed(details):
        base = expand(base) + detail
    return base


def reduce(image: Tensor) -> Tensor:
    """Smooth with the 5-tap binomial [1 4 6 4 1]/16 and keep every second pixel."""
    return _binomial(image)[..., ::2, ::2]


def expand(image: Tensor) -> Tensor:
    """Double height and width: zeros between the pixels, then the binomial times four."""
    batch, channels, height, width = image.shape
    spread = image.new_zeros(batch, channels, height * 2, width * 2)
    spread[..., ::2, ::2] = image
    return 4 * _binomial(spread)


def _binomial(image: Tensor) -> Tensor:
    padded = functional.pad(image, (2, 2, 2, 2), mode="reflect")
    return _five_taps(_five_taps(padded, -2), -1)


def _five_taps(image: Tensor, axis: int) -> Tensor:
    """[1 4 6 4 1]/16 along one axis, as sums of shifted images.

    A convolution picks its algorithm by batch size and rounds differently with each; these sums
    give a slice the same bits in whatever batch it travels.
    """
    length = image.shape[axis] - 4
    one, two, three, four, five = (image.narrow(axis, start, length) for start in range(5))
    return (one + five + 4 * (two + four) + 6 * three) / 16


def create(device: torch.device, base: str = "maximum") -> Pyramid:
    """``base``: how the coarsest level is fused: average, maximum, reference or other."""
    return Pyramid(base)
