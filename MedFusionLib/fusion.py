"""The whole way: two volumes in, one fused volume out.

file or MRML node → Volume → alignment → intensity → slices → method → slices → intensity → Volume
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib import alignment as alignments
from MedFusionLib import colour as colours
from MedFusionLib import intensity
from MedFusionLib.device import autocast, choose_device, choose_precision, run_in_batches
from MedFusionLib.errors import GeometryError, InputError
from MedFusionLib.methods import DEFAULT_METHOD, FusionMethod, create_method, method_card
from MedFusionLib.slices import fuse_slices, slice_stack
from MedFusionLib.validation import checked_input
from MedFusionLib.version import __version__
from MedFusionLib.volume import Volume, same_grid

if TYPE_CHECKING:
    import SimpleITK

ALIGNMENTS = ("none", "resample", "rigid", "affine")
GREY_MAXIMUM = 4095
"""A scalar result is int16 from 0 to this."""
FUNCTIONAL = ("PET", "SPECT")

Progress = Callable[[int, int, str], None]
Cancel = Callable[[], bool]


@dataclass(frozen=True)
class FusionResult:
    """The fused volume, on the reference's grid, and how it was made (plain JSON values)."""

    volume: Volume
    report: dict[str, Any]
    aligned_other: Volume
    """The other volume on the reference's grid, as it was fused."""


@dataclass(frozen=True)
class Alignment:
    """The other volume on the reference's grid, and what brought it there."""

    other: Volume
    report: dict[str, Any]


def fuse(
    reference: Volume,
    other: Volume,
    method: str = DEFAULT_METHOD,
    alignment: str | SimpleITK.Transform = "resample",
    device: str = "auto",
    colour: str = "auto",
    *,
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

    ``alignment``: ``none`` (the grids must be equal), ``resample`` (positions are trusted),
    ``rigid`` or ``affine`` (registered first), or a SimpleITK transform from reference space to
    other space. ``device``: auto, cpu, cuda:0, … ``colour``: ``auto`` shows PET and SPECT
    through the ``hot`` map, keeps a colour volume's own colours, and fuses the rest in grey;
    ``grey`` or the name of a colour map overrides it. ``plane``: axial, coronal or sagittal.
    Windows: see ``intensity.choose_window``. ``allow_nonfinite`` replaces NaN and infinity by
    the background; ``force`` goes on where the frames of reference differ or a registration
    failed. ``progress(done, total, message)`` is told after each batch, ``cancel()`` is asked
    before each.

    Returns a volume of int16 0 … 4095 (grey) or uint8 RGB, exactly 0 where both sources show
    background. Raises ``MedFusionError`` or ``ValueError`` with a sentence for the user.
    """
    started = time.perf_counter()
    card = method_card(method)
    chosen = choose_device(device)
    warnings: list[str] = []
    reference = checked_input(reference, "reference", allow_nonfinite, warnings)
    other = checked_input(other, "other", allow_nonfinite, warnings)
    if reference.is_colour:
        raise InputError("The reference volume is a colour image. Choose a scalar MR or CT volume.")
    # Windows come from the volume as measured: resampling blurs extremes and adds empty space.
    windows = (
        intensity.choose_window(reference, window_reference),
        intensity.choose_window(_grey(other), window_other),
    )
    aligned = _align(reference, other, alignment, force, warnings, progress, cancel)
    aligned_at = time.perf_counter()

    used_precision = choose_precision(precision, chosen.device)
    fusion_method = create_method(method, chosen.device, **dict(method_options or {}))
    painter = _Painter(reference, aligned.other, windows, plane, _colour_map(other, colour))
    fused = np.zeros((*reference.grid_shape, *painter.components), dtype=painter.dtype)
    output = slice_stack(fused, reference.direction_matrix, plane)
    batches = _fuse_stack(fusion_method, painter, output, chosen.device, used_precision)
    for done in run_in_batches(batches, len(output), chosen.device, batch_size, cancel):
        if progress is not None:
            progress(done, len(output), "Fusing slices")
    finished = time.perf_counter()

    report = {
        "version": __version__,
        "method": method,
        "method_kind": card.kind,
        "method_options": dict(method_options or {}),
        "weights_sha256": getattr(fusion_method, "weights_sha256", None),
        "seed": getattr(fusion_method, "seed", None),
        "device": str(chosen.device),
        "device_title": chosen.title,
        "precision": used_precision,
        "plane": plane,
        "slices": len(output),
        "colour": painter.colour_map or "grey",
        "reference": _describe(reference, windows[0]),
        "other": _describe(other, windows[1]),
        **aligned.report,
        "warnings": warnings + _training_warning(card.modalities, other.modality, method),
        "seconds": {
            "align": aligned_at - started,
            "fuse": finished - aligned_at,
            "total": finished - started,
        },
    }
    volume = replace(
        reference, voxels=fused, modality="unknown", metadata=_provenance(reference, report)
    )
    return FusionResult(volume, report, aligned.other)


def _grey(volume: Volume) -> Volume:
    """A colour volume's brightest channel: one window serves all three of its channels."""
    return replace(volume, voxels=volume.voxels.max(axis=3)) if volume.is_colour else volume


def _colour_map(other: Volume, wanted: str) -> str | None:
    """Name of the colour map, ``own`` for a colour volume, None for a grey result."""
    if wanted == "grey":
        return None
    if other.is_colour:
        return "own"
    if wanted != "auto":
        if wanted not in colours.COLOUR_MAPS:
            known = ", ".join(("auto", *colours.COLOUR_MAPS))
            raise InputError(f"There is no colour '{wanted}'. Choose one of: {known}.")
        return wanted
    return "hot" if other.modality in FUNCTIONAL else None


def _align(
    reference: Volume,
    other: Volume,
    alignment: str | SimpleITK.Transform,
    force: bool,
    warnings: list[str],
    progress: Progress | None,
    cancel: Cancel | None,
) -> Alignment:
    if not isinstance(alignment, str):
        return _resampled(reference, other, alignment, "given", {}, force, warnings)
    if alignment not in ALIGNMENTS:
        raise InputError(
            f"There is no alignment '{alignment}'. Choose one of: {', '.join(ALIGNMENTS)}."
        )
    if alignment == "none" and not same_grid(reference, other):
        raise GeometryError(
            "The two volumes have different grids. Let the other one be resampled "
            "(--alignment resample), or choose volumes on one grid."
        )
    if alignment in ("none", "resample"):
        return _resampled(reference, other, None, alignment, {}, force, warnings)
    from MedFusionLib.registration import align

    found = align(reference, other, alignment, progress=progress, cancel=cancel)
    quality = found.quality.to_report()
    if quality["verdict"] == "failed" and not force:
        raise GeometryError(f"The volumes could not be aligned: {quality['reason']}")
    if quality["verdict"] != "pass":
        warnings.append(f"The alignment is {quality['verdict']}: {quality['reason']}")
    return _resampled(
        reference, other, found.transform, alignment, {"registration": quality}, force, warnings
    )


def _resampled(
    reference: Volume,
    other: Volume,
    transform: SimpleITK.Transform | None,
    kind: str,
    extra: dict[str, Any],
    force: bool,
    warnings: list[str],
) -> Alignment:
    overlap = alignments.describe_overlap(reference, other, transform)
    if overlap.kind == alignments.NO_OVERLAP or not force:
        alignments.refuse_bad_overlap(overlap)
    if overlap.kind == alignments.DIFFERENT_FRAMES:
        warnings.append(f"{overlap.sentence} They were fused as they lie because of --force.")
    if overlap.is_little:
        warnings.append(f"Only {100 * overlap.fraction:.0f} % of the smaller volume overlaps.")
    described = {"kind": kind, "matrix": _matrix(transform)}
    report = {
        "transform": described,
        "overlap": {"kind": overlap.kind, "fraction": overlap.fraction},
        **extra,
    }
    return Alignment(alignments.resample(other, reference, transform), report)


def _matrix(transform: SimpleITK.Transform | None) -> list[list[float]] | None:
    """4×4 matrix (LPS, mm, reference space to other space), None for a non-linear transform."""
    if transform is None:
        return np.eye(4).tolist()
    if not transform.IsLinear():
        return None
    matrix = np.eye(4)
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    for axis in range(3):
        matrix[:3, axis] = np.array(transform.TransformPoint(np.eye(3)[axis].tolist()))
        matrix[:3, axis] -= matrix[:3, 3]
    return matrix.tolist()


class _Painter:
    """Turns stored voxels of some slices into [0, 1] for a method, and its result into voxels.

    Works on a batch at a time, so that no second copy of a large volume in float is ever made.
    """

    def __init__(
        self,
        reference: Volume,
        other: Volume,
        windows: tuple[intensity.Window, intensity.Window],
        plane: str,
        colour_map: str | None,
    ) -> None:
        directions = reference.direction_matrix
        self._reference = slice_stack(reference.voxels, directions, plane)
        self._other = slice_stack(other.voxels, directions, plane)
        self._windows = windows
        self.colour_map = colour_map
        self.components = () if colour_map is None else (3,)
        self.dtype = np.int16 if colour_map is None else np.uint8

    def reference_unit(self, batch: Sequence[int]) -> np.ndarray:
        """(N, H, W) float32 in [0, 1]."""
        return self._windows[0].to_unit(self._reference[_span(batch)])

    def other_unit(self, batch: Sequence[int]) -> np.ndarray:
        """(N, H, W), or (N, H, W, 3) for a volume that is shown in colour."""
        unit = self._windows[1].to_unit(self._other[_span(batch)])
        if self.colour_map is None:
            return colours.luminance(unit) if unit.ndim == 4 else unit
        return unit if self.colour_map == "own" else colours.apply_colour_map(unit, self.colour_map)

    def voxels(self, fused: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Stored values of a fused batch (N, H, W) in [0, 1]."""
        if self.colour_map is None:
            return np.rint(fused * GREY_MAXIMUM).astype(self.dtype)
        stored = np.zeros(other.shape, dtype=self.dtype)
        lit = fused > 0  # a head fills about a third of its slices
        stored[lit] = np.rint(colours.recolour(fused[lit], other[lit]) * 255)
        return stored


def _span(batch: Sequence[int]) -> slice:
    return slice(batch[0], batch[-1] + 1)


def _fuse_stack(
    method: FusionMethod, painter: _Painter, output: np.ndarray, device: Any, precision: str
) -> Callable[[Sequence[int]], None]:
    """A function that fuses the slices of one batch into the output stack."""
    import torch

    def run(batch: Sequence[int]) -> None:
        reference, other = painter.reference_unit(batch), painter.other_unit(batch)
        light = colours.luminance(other) if other.ndim == 4 else other
        anatomical, functional = (
            torch.from_numpy(np.ascontiguousarray(unit))[:, None].to(device)
            for unit in (reference, light)
        )
        with autocast(precision, device):
            fused = fuse_slices(method, anatomical, functional, batch)
        output[_span(batch)] = painter.voxels(fused[:, 0].float().cpu().numpy(), other)

    return run


def _describe(volume: Volume, window: intensity.Window) -> dict[str, Any]:
    return {
        "path": volume.metadata.get("source"),
        "modality": volume.modality,
        "modality_source": volume.metadata.get("modality_source", "given"),
        "modality_reason": volume.metadata.get("modality_reason"),
        "window": {"name": window.name, "low": window.low, "high": window.high},
        "shape": [int(length) for length in volume.grid_shape],
        "spacing": [float(step) for step in volume.spacing],
    }


def _training_warning(trained: tuple[str, ...], modality: str, method: str) -> list[str]:
    if modality == "unknown" or modality in trained:
        return []
    known = ", ".join(trained)
    return [f"The method '{method}' was made for {known}, not for {modality}. Look twice."]


def _provenance(reference: Volume, report: Mapping[str, Any]) -> dict[str, str]:
    kept = ("frame_of_reference_uid", "study_uid")
    inherited = {key: reference.metadata[key] for key in kept if key in reference.metadata}
    return inherited | {
        "medfusion_method": str(report["method"]),
        "medfusion_version": str(report["version"]),
        "medfusion_weights_sha256": str(report["weights_sha256"] or ""),
    }
