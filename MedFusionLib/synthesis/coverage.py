"""Where one volume reaches on another one's grid."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from MedFusionLib.registration.overlap import resample
from MedFusionLib.volumes.volume import Volume, same_grid

if TYPE_CHECKING:
    import SimpleITK


def coverage(first: Volume, second: Volume, transform: SimpleITK.Transform | None) -> np.ndarray:
    """Voxels (K, J, I) of the first volume's grid which the second one reaches.

    ``transform`` maps points of the first one's space to the second one's (LPS, mm).
    """
    if transform is None and same_grid(first, second):
        return np.ones(first.grid_shape, bool)
    everywhere = np.ones(second.grid_shape, np.float32)
    # What lies outside takes the smallest value; a corner lends it.
    everywhere[0, 0, 0] = 0
    return resample(replace(second, voxels=everywhere), first, transform).voxels > 0.5


def told_coverage(covered: np.ndarray) -> list[str]:
    """What a user should know of it."""
    share = float(covered.mean())
    if share == 1:
        return []
    return [
        f"The second volume covers {100 * share:.0f} % of the first one's grid. The rest of the "
        "result is empty."
    ]
