"""Fused pictures as MedFusion shows them: grey, or in the colours of the functional source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from MedFusionLib.computing.device import run_in_batches
from MedFusionLib.computing.stack_fusion import StackFuser
from MedFusionLib.slices import colour as colours
from MedFusionLib.slices.intensity import Window
from MedFusionLib.slices.painting import GREY_MAXIMUM, Layer, SlicePainter, empty_result
from MedFusionLib.volumes.volume import Volume

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from MedFusionLib.computing.slice_fusion import FusionMethod

UNIT = Window(0.0, 1.0, "given")
BATCH = 4
"""Slices fused at once: more are no faster on a CPU and take more memory."""


class Shower(Protocol):
    """Whatever makes one picture of two sources."""

    name: str

    def show(
        self,
        references: np.ndarray,
        others: np.ndarray,
        slice_number: int,
        colour_map: str | None,
    ) -> np.ndarray:
        """Pictures (N, H, W), or with a colour map RGB (N, H, W, 3), of stacks (N, H, W).

        All in [0, 1], float32. The stacks are versions of one slice, which ``slice_number`` tells
        to methods that draw noise.
        """
        ...


class ShownMethod:
    """Shows what a fusion method makes, through the very steps of `fuse`."""

    def __init__(self, method: FusionMethod, device: torch.device, precision: str) -> None:
        self.name = method.name
        self._method, self._device, self._precision = method, device, precision

    def show(
        self,
        references: np.ndarray,
        others: np.ndarray,
        slice_number: int,
        colour_map: str | None,
    ) -> np.ndarray:
        """See `Shower`."""
        one, two = (Volume(stack, (1, 1, 1), (0, 0, 0)) for stack in (references, others))
        stored = empty_result(one, colour_map is not None)
        painter = SlicePainter(Layer(one, UNIT), [Layer(two, UNIT, colour_map)], "axial")
        method = _OfOneSlice(self._method, slice_number)
        with StackFuser(method, painter, stored, self._device, self._precision) as fuser:
            for _ in run_in_batches(fuser, len(stored), BATCH):
                pass
        full_scale = GREY_MAXIMUM if colour_map is None else 255
        return stored.astype(np.float32) / np.float32(full_scale)


class Blend:
    """The mean of the two pictures as each is shown alone: what any viewer's 50 % overlay does."""

    name = "blend"

    def show(
        self,
        references: np.ndarray,
        others: np.ndarray,
        slice_number: int,
        colour_map: str | None,
    ) -> np.ndarray:
        """See `Shower`."""
        if colour_map is None:
            return (references + others) / 2
        return (references[..., None] + colours.apply_colour_map(others, colour_map)) / 2


class _OfOneSlice:
    """A method whose noise is that of one slice, in whichever place of the stack it lies."""

    def __init__(self, method: FusionMethod, slice_number: int) -> None:
        self.name, self.stride = method.name, method.stride
        self._method, self._slice_number = method, slice_number

    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        return self._method.fuse(reference, other, [self._slice_number] * len(reference))
