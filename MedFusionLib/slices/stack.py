"""A volume's voxels as a stack of slices, and padding to a method's stride.

A stack is a view on the voxels: writing into the stack of an output volume writes the volume.
Stacks are oriented alike whatever order the array has, so that a network sees heads as in its
training and a volume gives the same result however it was stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from MedFusionLib.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

# Patient axes (0 left, 1 posterior, 2 superior, in LPS) and the sense of slices, rows, columns.
_PLANES = {
    "axial": ((2, +1), (1, +1), (0, +1)),
    "coronal": ((1, +1), (2, -1), (0, +1)),
    "sagittal": ((0, +1), (2, -1), (1, +1)),
}
PLANES = tuple(_PLANES)


def slice_stack(voxels: np.ndarray, direction_matrix: np.ndarray, plane: str) -> np.ndarray:
    """View (slices, rows, columns[, 3]) of voxels (K, J, I[, 3]).

    Axial slices run from the feet to the head, with rows from front to back and columns from
    the patient's right to left. For an oblique grid the array axes nearest to the patient's
    are taken. ``direction_matrix`` (3, 3) has the LPS directions of I, J, K as columns.
    """
    if plane not in _PLANES:
        raise InputError(f"There is no plane '{plane}'. Choose one of: {', '.join(PLANES)}.")
    nearest = nearest_axes(direction_matrix)
    order, flips = [], []
    for patient_axis, sense in _PLANES[plane]:
        index_axis = nearest[patient_axis]
        order.append(2 - index_axis)
        along = direction_matrix[patient_axis, index_axis] * sense > 0
        flips.append(slice(None) if along else slice(None, None, -1))
    rest = tuple(range(3, voxels.ndim))
    return voxels.transpose(*order, *rest)[tuple(flips)]


def nearest_axes(direction_matrix: np.ndarray) -> tuple[int, int, int]:
    """Which of I, J, K (0, 1, 2) lies nearest to the patient's L, P and S axis; each once."""
    from itertools import permutations

    size = np.abs(direction_matrix)
    best = max(permutations(range(3)), key=lambda axes: sum(size[p, a] for p, a in enumerate(axes)))
    return best[0], best[1], best[2]


def reflected_indices(length: int, stride: int) -> np.ndarray:
    """Indices that extend 0 … length-1 to the next multiple of stride by mirroring at the end.

    Mirrors as often as needed, so that slices smaller than their padding work as well.
    """
    padded = -(-length // stride) * stride
    if length == 1:
        return np.zeros(padded, dtype=np.int64)
    period = 2 * (length - 1)
    places = np.arange(padded) % period
    return np.minimum(places, period - places)


def pad_to_stride(slices: Tensor, stride: int) -> Tensor:
    """(N, 1, H, W) with H and W grown to multiples of stride, at the bottom and the right."""
    import torch

    height, width = slices.shape[-2:]
    if height % stride == 0 and width % stride == 0:
        return slices
    rows = torch.as_tensor(reflected_indices(height, stride), device=slices.device)
    columns = torch.as_tensor(reflected_indices(width, stride), device=slices.device)
    return slices.index_select(-2, rows).index_select(-1, columns)
