"""The second sequence on the first one's grid, and where it reaches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib.errors import GeometryError, InputError, RegistrationError
from MedFusionLib.registration import overlap as overlaps
from MedFusionLib.registration.align import Cancel, Progress, align
from MedFusionLib.volumes.volume import Volume, same_grid

if TYPE_CHECKING:
    import SimpleITK

REGISTERED = ("rigid", "affine")
ALIGNMENTS = (*REGISTERED, "resample", "none")


@dataclass(frozen=True)
class Laid:
    """The second volume on the first one's grid."""

    volume: Volume
    covered: np.ndarray
    """Voxels (K, J, I) of that grid which the volume reaches."""
    report: dict[str, Any]
    """Plain JSON values."""


def lay(
    first: Volume,
    second: Volume,
    alignment: str,
    force: bool,
    warnings: list[str],
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Laid:
    """Lay ``second`` on ``first`` by one of ``ALIGNMENTS``; appends to ``warnings``.

    Raises ``InputError`` for an unknown alignment, ``GeometryError`` for volumes that do not
    overlap or, with ``none``, have different grids; ``RegistrationError`` for a failed
    registration, unless ``force`` is set.
    """
    _refuse_unfit(first, second, alignment)
    transform: SimpleITK.Transform | None = None
    found: dict[str, Any] = {}
    if alignment in REGISTERED:
        transform, found = _registered(first, second, alignment, force, warnings, progress, cancel)
    overlap = overlaps.describe_overlap(first, second, transform)
    if overlap.kind == overlaps.NO_OVERLAP or not force:
        overlaps.refuse_bad_overlap(overlap)
    covered = _covered(first, second, transform)
    share = float(covered.mean())
    if share < 1:
        warnings.append(
            f"The second volume covers {100 * share:.0f} % of the first one's grid. The rest of "
            "the result is empty."
        )
    report = {"transform": {"kind": alignment}, **found, "covered": share}
    return Laid(overlaps.resample(second, first, transform), covered, report)


def _refuse_unfit(first: Volume, second: Volume, alignment: str) -> None:
    if alignment not in ALIGNMENTS:
        raise InputError(
            f"There is no alignment '{alignment}'. Choose one of: {', '.join(ALIGNMENTS)}."
        )
    if alignment == "none" and not same_grid(first, second):
        raise GeometryError(
            "The two volumes have different grids. Let the second one be laid on the first "
            "(--alignment rigid)."
        )


def _registered(
    first: Volume,
    second: Volume,
    alignment: str,
    force: bool,
    warnings: list[str],
    progress: Progress | None,
    cancel: Cancel | None,
) -> tuple[SimpleITK.Transform, dict[str, Any]]:
    found = align(first, second, alignment, progress=progress, cancel=cancel, force=force)
    quality = found.quality
    if quality.verdict == "failed" and not force:
        raise RegistrationError(f"The volumes could not be aligned: {quality.reason}")
    if quality.verdict != "pass":
        warnings.append(f"The alignment is {quality.verdict}: {quality.reason}")
    return found.transform, {"registration": found.to_report()}


def _covered(first: Volume, second: Volume, transform: SimpleITK.Transform | None) -> np.ndarray:
    if transform is None and same_grid(first, second):
        return np.ones(first.grid_shape, bool)
    everywhere = np.ones(second.grid_shape, np.float32)
    # What lies outside takes the smallest value; a corner lends it.
    everywhere[0, 0, 0] = 0
    return overlaps.resample(replace(second, voxels=everywhere), first, transform).voxels > 0.5
