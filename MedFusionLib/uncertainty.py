"""How far the noise draws of a method lie apart, as a volume beside the fused one."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from MedFusionLib.computing.device import choose_device
from MedFusionLib.errors import InputError
from MedFusionLib.fusion import FusionResult, fuse
from MedFusionLib.methods import FusionMethod, create_method, method_card
from MedFusionLib.slices.stack import slice_stack
from MedFusionLib.volumes.volume import Volume

if TYPE_CHECKING:
    from torch import Tensor

DRAWS = 8


@runtime_checkable
class DrawingMethod(FusionMethod, Protocol):
    """A fusion method whose result depends on noise that it draws."""

    def fuse_with_uncertainty(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over the draws, both like the result of ``fuse``."""
        ...


def fuse_with_uncertainty(
    reference: Volume,
    other: Volume,
    method: str = "dmfnet",
    *,
    device: str = "auto",
    plane: str = "axial",
    method_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[FusionResult, Volume]:
    """Fuse with several noise draws; also return their standard deviation at each voxel.

    ``method_options`` may say how many ``draws`` (default 8); ``options`` are those of ``fuse``.
    The second volume is float32 on the reference's grid, from 0 to 1 as a share of the full grey
    scale. It shows how much the noise moves the result, not whether the result is right.

    Raises ``InputError`` for a method that draws no noise, and whatever ``fuse`` raises.
    """
    if options.get("grid", "reference") != "reference":
        raise InputError(
            "The uncertainty is computed on the reference's grid alone. Choose the grid "
            "'reference', or leave the uncertainty away."
        )
    chosen = {"draws": DRAWS, **(method_options or {})}
    drawing = _drawing_method(method, device, chosen)
    spread = np.zeros(reference.grid_shape, np.float32)
    recorder = _SpreadRecorder(drawing, slice_stack(spread, reference.direction_matrix, plane))
    result = fuse(
        reference, other, recorder, device=device, plane=plane, method_options=chosen, **options
    )
    metadata = {**result.volume.metadata, "units": "share of the full grey scale"}
    return result, replace(result.volume, voxels=spread, metadata=metadata)


def _drawing_method(name: str, device: str, options: dict[str, Any]) -> DrawingMethod:
    create = importlib.import_module(method_card(name).module).create
    if "draws" not in inspect.signature(create).parameters:
        raise InputError(
            f"'{name}' draws no noise: it has no uncertainty. Choose 'dmfnet' or 'ddfm'."
        )
    method = create_method(name, choose_device(device).device, **options)
    assert isinstance(method, DrawingMethod)
    return method


class _SpreadRecorder:
    """Fuses as the method does, and writes the spread of its draws into a stack of slices."""

    def __init__(self, method: DrawingMethod, stack: np.ndarray) -> None:
        self.name = method.name
        self.stride = method.stride
        self.weights_sha256 = getattr(method, "weights_sha256", None)
        self.seed = getattr(method, "seed", None)
        self._method = method
        self._stack = stack

    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        indices = range(len(reference)) if slice_indices is None else slice_indices
        mean, spread = self._method.fuse_with_uncertainty(reference, other, indices)
        # Slices arrive padded at the bottom and the right.
        height, width = self._stack.shape[1:]
        kept = spread[:, 0, :height, :width].float().cpu().numpy()
        for index, one in zip(indices, kept, strict=True):
            self._stack[index] = one
        return mean
