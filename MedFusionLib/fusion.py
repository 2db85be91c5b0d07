"""The whole way: two volumes in, one fused volume out.

file or MRML node → Volume → alignment → intensity → slices → method → slices → intensity → Volume
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib.computing.device import choose_device, computed_precision, run_in_batches
from MedFusionLib.computing.stack_fusion import StackFuser
from MedFusionLib.errors import GeometryError, InputError, RegistrationError
from MedFusionLib.methods import DEFAULT_METHOD, FusionMethod, create_method, method_card
from MedFusionLib.methods.rebuilding import rebuild_of
from MedFusionLib.registration import overlap as alignments
from MedFusionLib.registration.transform_checks import refuse_bad_transform
from MedFusionLib.slices import intensity
from MedFusionLib.slices.legend import scale_of
from MedFusionLib.slices.painting import (
    SlicePainter,
    brightest_channel,
    choose_colour_map,
    empty_result,
)
from MedFusionLib.slices.stack import slice_stack
from MedFusionLib.version import __version__
from MedFusionLib.volumes.identity import IDENTITY_FIELDS, refuse_two_patients
from MedFusionLib.volumes.validation import checked_input
from MedFusionLib.volumes.volume import Volume, same_grid

if TYPE_CHECKING:
    import SimpleITK

    from MedFusionLib.hidden import Hidden

REGISTERED = ("rigid", "affine", "deformable")
ALIGNMENTS = ("none", "resample", *REGISTERED)

Progress = Callable[[int, int, str], None]
Cancel = Callable[[], bool]


@dataclass(frozen=True)
class FusionResult:
    """The fused volume, on the reference's grid, and how it was made (plain JSON values)."""

    volume: Volume
    report: dict[str, Any]
    aligned_other: Volume
    """The other volume on the reference's grid, as it was fused."""
    transform: SimpleITK.Transform | None = None
    """From reference space to other space (LPS, mm), given or found; None for none."""
    reference: Volume | None = None
    """The reference volume, as it was fused."""

    @cached_property
    def hidden(self) -> Hidden:
        """What the fused volume hides of its sources; computed when first asked for."""
        from MedFusionLib.hidden import hidden_contrast

        assert self.reference is not None
        return hidden_contrast(self.reference, self.aligned_other, self.volume, self.report)


@dataclass(frozen=True)
class _LaidOn:
    """The other volume on the reference's grid, and what brought it there."""

    other: Volume
    transform: SimpleITK.Transform | None
    report: dict[str, Any]


def fuse(
    reference: Volume,
    other: Volume,
    method: str | FusionMethod = DEFAULT_METHOD,
    alignment: str | SimpleITK.Transform = "resample",
    device: str = "auto",
    colour: str = "auto",
    *,
    initial: SimpleITK.Transform | None = None,
    plane: str = "axial",
    window_reference: str | tuple[float, float] | None = None,
    window_other: str | tuple[float, float] | None = None,
    precision: str = "auto",
    batch_size: int | None = None,
    allow_nonfinite: bool = False,
    force: bool = False,
    method_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> FusionResult:
    """Fuse two volumes slice by slice.

    ``reference`` (anatomical, usually MR) gives the grid; ``other`` is the CT, PET or SPECT.

    ``method`` is a name of the registry, or a method built on ``device`` before, which spares
    loading its network again. ``alignment``: ``none`` (the grids must be equal), ``resample``
    (positions are trusted), ``rigid``, ``affine`` or ``deformable`` (registered first), or a
    SimpleITK transform from reference space to other space. ``initial``: linear transform from
    reference space to other space from which the registered ones climb instead of searching.
    ``device``: auto, cpu, cuda:0, … ``colour``: ``auto`` shows PET and SPECT through the
    ``rainforest`` map, keeps a colour volume's own colours, and fuses the rest in grey; ``grey`` or
    the name of a colour map overrides it. ``plane``: axial, coronal or sagittal. Windows: see
    ``intensity.choose_window``. ``allow_nonfinite`` replaces NaN and infinity by the background;
    ``force`` goes on where the frames of reference or the patients differ or a registration failed.
    ``progress(done, total, message)`` is told after each batch, ``cancel()`` is asked before
    each.

    Returns a volume of int16 0 … 4095 (grey) or uint8 RGB, exactly 0 where both sources show
    background. Raises ``MedFusionError`` or ``ValueError`` with a sentence for the user.
    """
    started = time.perf_counter()
    name = method if isinstance(method, str) else method.name
    card = method_card(name)
    chosen = choose_device(device)
    used_precision = computed_precision(precision, chosen.device, card.reduced_precisions)
    warnings: list[str] = []
    if precision not in ("auto", used_precision):
        warnings.append(
            f"The method '{name}' is not offered in {precision}: it ran in {used_precision}."
        )
    refuse_two_patients(reference, other, force, warnings)
    reference = checked_input(reference, "reference", allow_nonfinite, warnings)
    other = checked_input(other, "other", allow_nonfinite, warnings)
    if reference.is_colour:
        raise InputError("The reference volume is a colour image. Choose a scalar MR or CT volume.")
    colour_map = choose_colour_map(other, colour)
    fused = empty_result(reference, colour_map)
    output = slice_stack(fused, reference.direction_matrix, plane)
    # Windows come from the volume as measured: resampling blurs extremes and adds empty space.
    windows = (
        intensity.choose_window(reference, window_reference),
        intensity.choose_window(brightest_channel(other), window_other),
    )
    aligned = _lay(reference, other, alignment, initial, force, warnings, progress, cancel)
    aligned_at = time.perf_counter()

    if isinstance(method, str):
        method = create_method(name, chosen.device, **dict(method_options or {}))
    described = _describe_method(method, method_options)
    painter = SlicePainter(reference, aligned.other, windows, plane, colour_map)
    rebuild = rebuild_of(method, method_options)
    with StackFuser(method, painter, output, chosen.device, used_precision, rebuild) as fuser:
        del method  # the fuser alone holds it, and can free a GPU of it
        for done in run_in_batches(fuser, len(output), batch_size, cancel):
            if progress is not None:
                progress(done, len(output), "Fusing slices")
    warnings += fuser.warnings
    finished = time.perf_counter()

    report = {
        "version": __version__,
        **described,
        "device": str(chosen.device),
        "device_title": chosen.title,
        "precision": used_precision,
        "plane": plane,
        "slices": len(output),
        "colour": colour_map or "grey",
        "reference": _describe(reference, windows[0]),
        "other": _describe(other, windows[1]),
        **aligned.report,
        "warnings": warnings + _training_warning(card.modalities, other.modality, name),
        "seconds": {
            "align": aligned_at - started,
            "fuse": finished - aligned_at,
            "total": finished - started,
        },
    }
    volume = replace(
        reference, voxels=fused, modality="unknown", metadata=_provenance(reference, report)
    )
    return FusionResult(volume, report, aligned.other, aligned.transform, reference)


def _describe_method(method: FusionMethod, options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "method": method.name,
        "method_kind": method_card(method.name).kind,
        "method_options": dict(options or {}),
        "weights_sha256": getattr(method, "weights_sha256", None),
        "seed": getattr(method, "seed", None),
    }


def _lay(
    reference: Volume,
    other: Volume,
    alignment: str | SimpleITK.Transform,
    initial: SimpleITK.Transform | None,
    force: bool,
    warnings: list[str],
    progress: Progress | None,
    cancel: Cancel | None,
) -> _LaidOn:
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
) -> _LaidOn:
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
    return _LaidOn(alignments.resample(other, reference, transform), transform, report)


def _matrix(transform: SimpleITK.Transform | None) -> list[list[float]] | None:
    """4×4 matrix (LPS, mm, reference space to other space), None for a non-linear transform."""
    if transform is None:
        return np.eye(4).tolist()
    if not transform.IsLinear():
        return None
    from MedFusionLib.registration.transforms import matrix_of

    return matrix_of(transform).tolist()


def _describe(volume: Volume, window: intensity.Window) -> dict[str, Any]:
    return {
        "path": volume.metadata.get("source"),
        "modality": volume.modality,
        "modality_source": volume.metadata.get("modality_source", "given"),
        "modality_reason": volume.metadata.get("modality_reason"),
        "window": {"name": window.name, "low": window.low, "high": window.high},
        **scale_of(volume),
        "shape": [int(length) for length in volume.grid_shape],
        "spacing": [float(step) for step in volume.spacing],
    }


def _training_warning(trained: tuple[str, ...], modality: str, method: str) -> list[str]:
    if modality == "unknown" or modality in trained:
        return []
    known = ", ".join(trained)
    return [f"The method '{method}' was made for {known}, not for {modality}. Look twice."]


def _provenance(reference: Volume, report: Mapping[str, Any]) -> dict[str, str]:
    kept = ("frame_of_reference_uid", "study_uid", "study_date", *IDENTITY_FIELDS)
    inherited = {key: reference.metadata[key] for key in kept if key in reference.metadata}
    return inherited | {
        "medfusion_method": str(report["method"]),
        "medfusion_version": str(report["version"]),
        "medfusion_weights_sha256": str(report["weights_sha256"] or ""),
    }
