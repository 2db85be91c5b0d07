"""Finer grids over a reference volume: where their voxels lie, and when they are refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.volume import Volume

GRIDS = ("reference", "isotropic", "finest")
MOST_VOXELS = 512**3
"""More than this, and memory runs out before anything is gained."""
LEAST_GAIN = 1.1
"""By which the largest step of the reference has to exceed the grid's."""
SAME_STEP = 1e-6
"""Relative difference below which two steps are one."""


@dataclass(frozen=True)
class FinerGrid:
    """A grid whose first voxel and directions are the reference's.

    It ends at the last measured voxel of each axis, or less than a step before it: nothing is
    extrapolated. ``spacing`` is along I, J and K in mm, ``shape`` along K, J and I.
    """

    name: str
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    measured_spacing: tuple[float, float, float]
    measured_shape: tuple[int, int, int]

    def factor(self, axis: int) -> float:
        """How many steps of the grid a measured step has, along array axis 0 (K), 1 (J) or 2."""
        return self.measured_spacing[2 - axis] / self.spacing[2 - axis]

    def places(self, axis: int) -> np.ndarray:
        """Where its voxels lie along an array axis, in measured steps from the first voxel."""
        places = np.arange(self.shape[axis]) / self.factor(axis)
        return np.minimum(places, self.measured_shape[axis] - 1)

    @property
    def refined_axes(self) -> tuple[int, ...]:
        """Array axes along which it has another step than the reference."""
        return tuple(axis for axis in range(3) if self.factor(axis) != 1)

    @property
    def thick_axis(self) -> int:
        """The array axis along which the measured voxels lie farthest apart."""
        return 2 - int(np.argmax(self.measured_spacing))


def refuse_unknown_grid(name: str) -> None:
    """Raise ``InputError`` for a grid that there is not."""
    if name not in GRIDS:
        raise InputError(f"There is no grid '{name}'. Choose one of: {', '.join(GRIDS)}.")


def finer_grid(name: str, reference: Volume, others: Sequence[Volume]) -> FinerGrid:
    """The grid ``isotropic`` or ``finest`` over a reference.

    Its step along all axes is the smallest one of the reference (isotropic), or of all the
    volumes (finest). Raises ``InputError`` where that gains nothing or would need too many voxels.
    """
    volumes = (reference, *others) if name == "finest" else (reference,)
    step = min(min(volume.spacing) for volume in volumes)
    if max(reference.spacing) < LEAST_GAIN * step:
        raise InputError(
            f"The reference's voxels are {millimetres(reference.spacing)} already: the grid "
            f"'{name}' ({step:.4g} mm) gains nothing. Choose the grid 'reference'."
        )
    shape = [
        _count(n, old, step)
        for n, old in zip(reference.grid_shape, reference.spacing[::-1], strict=True)
    ]
    if math.prod(shape) > MOST_VOXELS:
        raise InputError(
            f"The grid '{name}' ({step:.4g} mm) would have {math.prod(shape) / 1e6:.0f} million "
            f"voxels, more than the {MOST_VOXELS / 1e6:.0f} million that are fused. Choose the "
            "grid 'reference', or crop or resample the reference first."
        )
    i, j, k = (old if _is_same(old, step) else step for old in reference.spacing)
    return FinerGrid(
        name,
        (i, j, k),
        (shape[0], shape[1], shape[2]),
        reference.spacing,
        reference.grid_shape,
    )


def millimetres(spacing: Sequence[float]) -> str:
    """``0.94 × 0.94 × 5 mm``."""
    return " × ".join(f"{step:.4g}" for step in spacing) + " mm"


def _is_same(old: float, step: float) -> bool:
    return abs(old - step) <= SAME_STEP * step


def _count(count: int, old: float, step: float) -> int:
    """Voxels at a new step that lie within ``count`` voxels' centres."""
    if _is_same(old, step):
        return count
    return math.floor((count - 1) * old / step + SAME_STEP) + 1
