"""The interface that every fusion method has, and how slices of any size pass through it.

Nothing heavy is imported here: the registry of methods, which every command reads, needs the
interface.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_SIDE = 32
"""Pixels to which smaller planes are grown: filters of coarse scales reach as far as that."""


@runtime_checkable
class FusionMethod(Protocol):
    """Fuses a batch of slices; knows nothing of volumes, colours, files or Slicer."""

    name: str
    stride: int
    """Height and width of the slices must be multiples of this number of pixels."""

    def fuse(
        self,
        reference: Tensor,
        other: Tensor,
        slice_indices: Sequence[int] | None = None,
    ) -> Tensor:
        """Fuse float tensors (N, 1, H, W) in [0, 1] on one device into one of the same shape.

        ``reference`` is the anatomical (MR) image, ``other`` the CT image or the luminance of
        the functional one. ``slice_indices`` are the slices' places in their volume (default
        0 … N-1); they seed whatever noise a method draws, so that a slice gives the same result
        in whatever batch it travels.
        """
        ...


@runtime_checkable
class MultiFusionMethod(FusionMethod, Protocol):
    """Fuses slices of any number of other volumes with those of the reference."""

    def fuse_many(
        self,
        reference: Tensor,
        others: Sequence[Tensor],
        slice_indices: Sequence[int] | None = None,
    ) -> Tensor:
        """As ``fuse``, with two or more ``others``. Their order makes no difference."""
        ...


def fuse_slices(
    method: FusionMethod,
    reference: Tensor,
    other: Tensor,
    slice_indices: Sequence[int] | None = None,
) -> Tensor:
    """Fuse slices (N, 1, H, W) in [0, 1] of any size: pad, fuse, crop, keep to the range.

    The result is exactly 0 where both sources are 0: no method may light up empty space.
    """
    indices = range(len(reference)) if slice_indices is None else slice_indices
    return _on_padded(
        lambda padded: method.fuse(padded[0], padded[1], indices), [reference, other], method.stride
    )


def fuse_many_slices(
    method: MultiFusionMethod,
    reference: Tensor,
    others: Sequence[Tensor],
    slice_indices: Sequence[int] | None = None,
) -> Tensor:
    """`fuse_slices` of two or more other volumes; exactly 0 where all sources are 0."""
    indices = range(len(reference)) if slice_indices is None else slice_indices
    return _on_padded(
        lambda padded: method.fuse_many(padded[0], padded[1:], indices),
        [reference, *others],
        method.stride,
    )


def _on_padded(
    fuse: Callable[[Sequence[Tensor]], Tensor], sources: Sequence[Tensor], method_stride: int
) -> Tensor:
    import torch

    from MedFusionLib.slices.stack import pad_to_stride

    height, width = sources[0].shape[-2:]
    stride = _padding_stride(method_stride, min(height, width))
    with torch.inference_mode():
        fused = fuse([pad_to_stride(source, stride) for source in sources])
        fused = fused[..., :height, :width].to(sources[0].dtype).clamp(0, 1)
        brightest = functools.reduce(torch.maximum, sources)
        return fused * (brightest > 0)


def _padding_stride(stride: int, side: int) -> int:
    """The stride, or for a small plane a multiple of it that leaves each scale some pixels."""
    return stride if side >= SMALLEST_SIDE else stride * -(-SMALLEST_SIDE // stride)
