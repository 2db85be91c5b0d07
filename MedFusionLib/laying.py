"""Lays a volume on the reference's grid: as it stands, by a given transform, or registered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib.errors import GeometryError, InputError, RegistrationError
from MedFusionLib.registration import overlap as alignments
from MedFusionLib.registration.transform_checks import refuse_bad_transform
from MedFusionLib.volumes.volume import Volume, same_grid

if TYPE_CHECKING:
    import SimpleITK

REGISTERED = ("rigid", "affine", "deformable")
ALIGNMENTS = ("none", "resample", *REGISTERED)

Progress = Callable[[int, int, str], None]
Cancel = Callable[[], bool]


@dataclass(frozen=True)
class LaidOn:
    """The other volume on the reference's grid, and what brought it there."""

    other: Volume
    transform: SimpleITK.Transform | None
    report: dict[str, Any]


def lay(
    reference: Volume,
    other: Volume,
    alignment: str | SimpleITK.Transform,
    initial: SimpleITK.Transform | None,
    force: bool,
    warnings: list[str],
    progress: Progress | None,
    cancel: Cancel | None,
) -> LaidOn:
    """The other volume on the reference's grid; for ``alignment`` and ``initial`` see `fuse`.

    What a user should know is appended to ``warnings``. Raises ``InputError`` for settings that do
    not go together, ``GeometryError`` for grids and overlaps that cannot be fused, and
    ``RegistrationError`` for a registration that failed.
    """
    if initial is not None and alignment not in REGISTERED:
        raise InputError(
            "An initial transform is where a registration starts: choose the alignment rigid or "
            "affine with it, or give it as the transform to use (--transform)."
        )
    for given in (alignment, initial):
        if given is not None and not isinstance(given, str):
            refuse_bad_transform(given, "The given transform")
    if not isinstance(alignment, str):
        return _resampled(reference, other, alignment, "given", force, warnings)
    if alignment not in ALIGNMENTS:
        raise InputError(
            f"There is no alignment '{alignment}'. Choose one of: {', '.join(ALIGNMENTS)}."
        )
    if alignment == "none" and not same_grid(reference, other):
        raise GeometryError(
            "The two volumes have different grids. Let the other one be resampled "
            "(--alignment resample), or choose volumes on one grid."
        )
    if alignment not in REGISTERED:
        return _resampled(reference, other, None, alignment, force, warnings)
    from MedFusionLib.registration.align import align

    found = align(
        reference, other, alignment, initial, progress=progress, cancel=cancel, force=force
    )
    quality = found.quality
    if quality.verdict == "failed" and not force:
        raise RegistrationError(f"The volumes could not be aligned: {quality.reason}")
    if quality.verdict != "pass":
        warnings.append(f"The alignment is {quality.verdict}: {quality.reason}")
    laid = _resampled(reference, other, found.transform, alignment, force, warnings)
    return replace(laid, report={**laid.report, "registration": found.to_report()})


def _resampled(
    reference: Volume,
    other: Volume,
    transform: SimpleITK.Transform | None,
    kind: str,
    force: bool,
    warnings: list[str],
) -> LaidOn:
    overlap = alignments.describe_overlap(reference, other, transform)
    if overlap.kind == alignments.NO_OVERLAP or not force:
        alignments.refuse_bad_overlap(overlap)
    if overlap.kind == alignments.DIFFERENT_FRAMES:
        warnings.append(f"{overlap.sentence} They were fused as they lie because that was forced.")
    if overlap.is_little:
        warnings.append(f"Only {100 * overlap.fraction:.0f} % of the smaller volume overlaps.")
    described = {"kind": kind, "matrix": _matrix(transform)}
    report = {
        "transform": described,
        "overlap": {"kind": overlap.kind, "fraction": overlap.fraction},
    }
    return LaidOn(alignments.resample(other, reference, transform), transform, report)


def _matrix(transform: SimpleITK.Transform | None) -> list[list[float]] | None:
    """4×4 matrix (LPS, mm, reference space to other space), None for a non-linear transform."""
    if transform is None:
        return np.eye(4).tolist()
    if not transform.IsLinear():
        return None
    from MedFusionLib.registration.transforms import matrix_of

    return matrix_of(transform).tolist()
