"""The sizes of images that a network takes."""

from __future__ import annotations

from torch import Tensor


def refuse_other_sizes(network: str, image: Tensor, stride: int) -> None:
    """Raise ``ValueError`` unless H and W of ``image`` are multiples of ``stride``."""
    height, width = image.shape[-2:]
    if height % stride or width % stride:
        raise ValueError(
            f"{network} needs height and width in multiples of {stride} pixels, "
            f"not {height}×{width}. Pad the image first."
        )


def refuse_sizes_below_two_strides(network: str, image: Tensor, stride: int) -> None:
    """As :func:`refuse_other_sizes`, for networks that need two strides along each side."""
    height, width = image.shape[-2:]
    if height % stride or width % stride or min(height, width) < 2 * stride:
        raise ValueError(
            f"{network} needs height and width in multiples of {stride} and of at least "
            f"{2 * stride} pixels, not {height}×{width}. Pad the image first."
        )
