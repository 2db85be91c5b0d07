"""What a volume must be before it is fused; each refusal says what to do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.volume import Volume

LABEL_VALUES = 16
"""Integer volumes with at most this many distinct values are taken for label maps."""


def checked_input(volume: Volume, role: str, allow_nonfinite: bool, warnings: list[str]) -> Volume:
    """The volume, finite and fit to be fused; appends what a user should know to ``warnings``.

    Raises ``InputError`` for a single slice, a complex, constant or label volume, and for NaN
    or infinity unless they may be replaced by the background.
    """
    if min(volume.grid_shape) < 2:
        size = "×".join(str(length) for length in volume.grid_shape)
        raise InputError(f"The {role} volume is a single slice ({size}). Choose a whole volume.")
    if volume.voxels.dtype.kind == "c":
        raise InputError(f"The {role} volume holds complex numbers. Save its magnitude first.")
    told = volume.metadata.get("warnings", "").splitlines()
    warnings.extend(f"{role.capitalize()} volume: {line}" for line in told)
    volume = _finite(volume, role, allow_nonfinite, warnings)
    _refuse_constant(volume, role)
    _refuse_labels(volume, role)
    if volume.metadata.get("modality_source") == "guess":
        reason = volume.metadata.get("modality_reason", "")
        warnings.append(
            f"The modality of the {role} volume is not certain: {volume.modality}, {reason}."
        )
    return volume


def _finite(volume: Volume, role: str, allow: bool, warnings: list[str]) -> Volume:
    if volume.voxels.dtype.kind != "f":
        return volume
    finite = np.isfinite(volume.voxels)
    bad = int(finite.size - np.count_nonzero(finite))
    if bad == 0:
        return volume
    if not finite.any():
        raise InputError(f"The {role} volume holds no finite value. Choose another volume.")
    if not allow:
        raise InputError(
            f"The {role} volume holds NaN or infinite voxels ({bad} in all). Repair it, or let "
            "them count as background (--allow-nonfinite; in Slicer under Advanced)."
        )
    warnings.append(
        f"NaN or infinite voxels of the {role} volume ({bad} in all) count as background."
    )
    background = volume.voxels[finite].min()
    return replace(volume, voxels=np.where(finite, volume.voxels, background))


def _refuse_labels(volume: Volume, role: str) -> None:
    if volume.voxels.dtype.kind not in "iub" or volume.is_colour:
        return
    # An image shows many values within any few slices; only if it does not, all are looked at.
    middle = volume.grid_shape[0] // 2
    if len(np.unique(volume.voxels[middle])) > LABEL_VALUES:
        return
    values = np.unique(volume.voxels)
    if len(values) <= LABEL_VALUES:
        raise InputError(
            f"The {role} volume holds only {len(values)} different values, like a label map. "
            "Choose the image itself; if it is one, save it as floating point."
        )


def _refuse_constant(volume: Volume, role: str) -> None:
    smallest, largest = float(volume.voxels.min()), float(volume.voxels.max())
    if smallest == largest:
        raise InputError(
            f"All voxels of the {role} volume have the value {smallest:g}. Choose another volume."
        )
