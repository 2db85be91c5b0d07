"""Fuses a volume slice by slice along one of the patient's axes, or along all three.

A network that sees one slice at a time treats neighbours differently where it is unsure, which
shows as streaks in the other two planes. The mean of three fusions, one along each axis, lets each
correct the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from MedFusionLib.computing.device import run_in_batches
from MedFusionLib.computing.slice_fusion import FusionMethod
from MedFusionLib.computing.stack_fusion import Rebuild, StackFuser
from MedFusionLib.errors import InputError
from MedFusionLib.slices.painting import Layer, SlicePainter, empty_result
from MedFusionLib.slices.stack import PLANES, slice_stack

if TYPE_CHECKING:
    import torch

ONE, THREE = "one", "three"


@dataclass(frozen=True)
class PlaneSettings:
    """How each stack of slices is fused; see `fuse`."""

    device: torch.device
    precision: str
    rebuild: Rebuild
    batch_size: int | None
    progress: Callable[[int, int, str], None] | None
    cancel: Callable[[], bool] | None


def planes_of(planes: str, plane: str) -> tuple[str, ...]:
    """The planes along which a volume is fused: ``plane`` alone for ``one``, all for ``three``."""
    if planes not in (ONE, THREE):
        raise InputError(f"'{planes}' is no number of planes. Choose {ONE} or {THREE}.")
    if plane not in PLANES:
        raise InputError(f"There is no plane '{plane}'. Choose one of: {', '.join(PLANES)}.")
    return (plane,) if planes == ONE else PLANES


def fuse_planes(
    planes: Sequence[str],
    methods: list[FusionMethod],
    reference: Layer,
    others: Sequence[Layer],
    settings: PlaneSettings,
) -> tuple[np.ndarray, list[str]]:
    """The stored voxels on the reference's grid, and warnings; of several planes the rounded mean.

    ``methods`` holds the method and is empty afterwards: the fuser of the last plane alone holds
    it, and can free a GPU of it.
    """
    grid = reference.volume
    in_colour = any(layer.colour_map is not None for layer in others)
    fused = empty_result(grid, in_colour)
    stacks = {plane: slice_stack(fused, grid.direction_matrix, plane) for plane in planes}
    slices, before = sum(map(len, stacks.values())), 0
    total = np.zeros(fused.shape, np.int32) if len(planes) > 1 else None
    warnings: list[str] = []
    for plane, output in stacks.items():
        painter = SlicePainter(reference, others, plane)
        method = methods.pop() if plane == planes[-1] else methods[0]
        with StackFuser(
            method, painter, output, settings.device, settings.precision, settings.rebuild
        ) as fuser:
            del method
            for done in run_in_batches(fuser, len(output), settings.batch_size, settings.cancel):
                if settings.progress is not None:
                    settings.progress(before + done, slices, "Fusing slices")
        before += len(output)
        warnings += fuser.warnings
        if total is not None:
            total += fused
    if total is not None:
        fused[...] = np.rint(total / len(planes))
    return fused, list(dict.fromkeys(warnings))
