"""The interface that every fusion method has, and how slices of any size pass through it.

Nothing heavy is imported here: the registry of methods, which every command reads, needs the
interface.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def fuse_slices(
    method: FusionMethod,
    reference: Tensor,
    other: Tensor,
    slice_indices: Sequence[int] | None = None,
) -> Tensor:
    """Fuse slices (N, 1, H, W) in [0, 1] of any size: pad, fuse, crop, keep to the range.

    The result is exactly 0 where both sources are 0: no method may light up empty space.
    """
    import torch

    from MedFusionLib.slices.stack import pad_to_stride

    height, width = reference.shape[-2:]
    stride = _padding_stride(method.stride, min(height, width))
    indices = range(len(reference)) if slice_indices is None else slice_indices
    with torch.inference_mode():
        fused = method.fuse(pad_to_stride(reference, stride), pad_to_stride(other, stride), indices)
        fused = fused[..., :height, :width].to(reference.dtype).clamp(0, 1)
        return fused * (torch.maximum(reference, other) > 0)


def _padding_stride(stride: int, side: int) -> int:
    """The stride, or for a small plane a multiple of it that leaves each scale some pixels."""
    return stride if side >= SMALLEST_SIDE else stride * -(-SMALLEST_SIDE // stride)
