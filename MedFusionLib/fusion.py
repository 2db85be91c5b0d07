"""The whole way: two volumes in, one fused volume out.

file or MRML node → Volume → alignment → intensity → slices → method → slices → intensity → Volume
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

from MedFusionLib.computing.device import choose_device, computed_precision
from MedFusionLib.computing.plane_fusion import PlaneSettings, fuse_planes, planes_of
from MedFusionLib.computing.volume_fusion import fuse_in_windows
from MedFusionLib.errors import InputError
from MedFusionLib.laying import ALIGNMENTS, REGISTERED, Cancel, LaidOn, Progress, lay
from MedFusionLib.methods import (
    DEFAULT_METHOD,
    FusionMethod,
    create_method,
    method_card,
    refuse_too_many,
)
from MedFusionLib.methods.rebuilding import rebuild_of
from MedFusionLib.methods.several import for_several
from MedFusionLib.refining.refine import Refined, refine
from MedFusionLib.slices import intensity
from MedFusionLib.slices.legend import scale_of
from MedFusionLib.slices.painting import (
    Layer,
    brightest_channel,
    choose_colour_maps,
)
from MedFusionLib.slices.stack import slice_stack
from MedFusionLib.version import __version__
from MedFusionLib.volumes.identity import IDENTITY_FIELDS, refuse_two_patients
from MedFusionLib.volumes.synthetic import METADATA, synthetic_note
from MedFusionLib.volumes.validation import checked_input
from MedFusionLib.volumes.volume import Volume

if TYPE_CHECKING:
    import SimpleITK

    from MedFusionLib.computing.stack_fusion import Rebuild
    from MedFusionLib.hidden import Hidden

WindowChoice = str | tuple[float, float] | None
_ORDINALS = ("second", "third", "fourth", "fifth")
_FOR_ANY = ("auto", "grey")
"""Colours that can be meant for several volumes at once."""

__all__ = ["ALIGNMENTS", "REGISTERED", "FusionResult", "fuse", "roles_of_others"]


@dataclass(frozen=True)
class FusionResult:
    """The fused volume, on the reference's grid or a finer one, and how it was made (JSON)."""

    volume: Volume
    report: dict[str, Any]
    aligned_other: Volume
    """The other volume on the reference's grid, as it was fused."""
    transform: SimpleITK.Transform | None = None
    """From reference space to other space (LPS, mm), given or found; None for none."""
    reference: Volume | None = None
    """The reference volume, as it was fused."""
    aligned_further: tuple[Volume, ...] = ()
    """Likewise all other volumes behind the first, as the report lists them in ``further``."""
    further_transforms: tuple[SimpleITK.Transform | None, ...] = ()
    refined: Refined | None = None
    """How the reference was brought onto a finer grid, and what that invented."""

    @property
    def aligned_others(self) -> tuple[Volume, ...]:
        """All other volumes on the reference's grid."""
        return self.aligned_other, *self.aligned_further

    @cached_property
    def hidden(self) -> Hidden:
        """What the fused volume hides of its sources; computed when first asked for."""
        from MedFusionLib.hidden import hidden_contrast

        assert self.reference is not None
        hidden = hidden_contrast(self.reference, self.aligned_others, self.volume, self.report)
        return replace(hidden, invented=self.refined.invented if self.refined else None)


def fuse(
    reference: Volume | Sequence[Volume],
    other: Volume | None = None,
    method: str | FusionMethod = DEFAULT_METHOD,
    alignment: str | SimpleITK.Transform | list[str | SimpleITK.Transform] = "resample",
    device: str = "auto",
    colour: str | list[str] = "auto",
    *,
    initial: SimpleITK.Transform | list[SimpleITK.Transform | None] | None = None,
    plane: str = "axial",
    planes: str = "one",
    grid: str = "reference",
    refinement: str = "interpolation",
    window_reference: str | tuple[float, float] | None = None,
    window_other: WindowChoice | list[WindowChoice] = None,
    precision: str = "auto",
    batch_size: int | None = None,
    allow_nonfinite: bool = False,
    force: bool = False,
    method_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> FusionResult:
    """Fuse two or more volumes slice by slice: ``fuse(mr, ct)`` or ``fuse([mr, ct, pet, …])``.

    ``reference`` (anatomical, usually MR) gives the grid; ``other`` is the CT, PET or SPECT. Of a
    sequence, the first volume is the reference and all behind it are others; each is laid on the
    reference by itself, and their order makes no difference (but for the colours of two functional
    ones: the first is red, the second blue). What is set for the other volume (alignment, initial,
    window_other, colour) then serves all of them, or is a list with one setting for each.

    ``method`` is a name of the registry, or a method built on ``device`` before, which spares
    loading its network again. ``alignment``: ``none`` (the grids must be equal), ``resample``
    (positions are trusted), ``rigid``, ``affine`` or ``deformable`` (registered first), or a
    SimpleITK transform from reference space to other space. ``initial``: linear transform from
    reference space to other space from which the registered ones climb instead of searching.
    ``device``: auto, cpu, cuda:0, … ``colour``: ``auto`` shows PET and SPECT through the
    ``rainforest`` map, keeps a colour volume's own colours, and fuses the rest in grey; ``grey`` or
    the name of a colour map overrides it. ``plane``: axial, coronal or sagittal; with
    ``planes`` = ``three``, along all three, whose mean is the result, in three times the time.
    ``grid``: the reference's, or a finer one over it, ``isotropic`` (its smallest step along all
    axes) or ``finest`` (that of all volumes), onto which it is brought by a ``refinement``:
    ``interpolation`` (B-splines) or ``network`` (docs/FINER.md).
    Windows: see ``intensity.choose_window``. ``allow_nonfinite`` replaces NaN and infinity by the
    background; ``force`` goes on where the frames of reference or the patients differ or a
    registration failed.
    ``progress(done, total, message)`` is told after each batch, ``cancel()`` is asked before
    each.

    Returns a volume of int16 0 … 4095 (grey) or uint8 RGB, exactly 0 where all sources show
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
    volumes = _reference_and_others(reference, other)
    refuse_too_many(card, len(volumes))
    reference, others = checked_volumes(volumes, allow_nonfinite, force, warnings)
    colour_maps = choose_colour_maps(others, for_each(colour, others, "colour"))
    along = planes_of(planes, plane)
    if card.sees_volumes and len(along) > 1:
        raise InputError(
            f"The method '{name}' sees all three planes at once. Leave the planes at one."
        )
    # Windows come from the volume as measured: resampling blurs extremes and adds empty space.
    window = intensity.choose_window(reference, window_reference)
    finer = refine(reference, others, window, grid, refinement, chosen.device, warnings, cancel)
    shown = Layer(finer.reference, window)
    windows = [
        intensity.choose_window(brightest_channel(one), wanted)
        for one, wanted in zip(others, for_each(window_other, others, "window"), strict=True)
    ]
    laid = _laid(reference, others, (alignment, initial), force, warnings, progress, cancel)
    laid = [finer.laid(one, other) for one, other in zip(laid, others, strict=True)]
    aligned_at = time.perf_counter()

    if isinstance(method, str):
        method = create_method(name, chosen.device, **dict(method_options or {}))
    described = _describe_method(method, method_options)
    layers = [
        Layer(one.other, window, colour_map)
        for one, window, colour_map in zip(laid, windows, colour_maps, strict=True)
    ]
    rebuild = rebuild_of(method, method_options)
    if len(others) > 1:
        method, rebuild = for_several(method), _for_several_again(rebuild)
    fuse_stack = fuse_in_windows if card.sees_volumes else fuse_planes
    held = [method]
    del method  # the fuser alone holds it, and can free a GPU of it
    settings = PlaneSettings(chosen.device, used_precision, rebuild, batch_size, progress, cancel)
    fused, told = fuse_stack(along, held, shown, layers, settings)
    warnings += told
    for one in others:
        warnings += _training_warning(card.modalities, one.modality, name)
    finished = time.perf_counter()

    report = {
        "version": __version__,
        **described,
        "device": str(chosen.device),
        "device_title": chosen.title,
        "precision": used_precision,
        "plane": plane,
        "planes": planes,
        "grid": finer.report,
        "slices": sum(len(slice_stack(fused, reference.direction_matrix, one)) for one in along),
        **_describe_sources(Layer(reference, window), others, laid, layers),
        **_made_up(volumes),
        "warnings": warnings,
        "seconds": {
            "align": aligned_at - started,
            "fuse": finished - aligned_at,
            "total": finished - started,
        },
    }
    volume = replace(
        finer.reference, voxels=fused, modality="unknown", metadata=_provenance(reference, report)
    )
    return FusionResult(
        volume,
        report,
        laid[0].other,
        laid[0].transform,
        finer.reference,
        tuple(one.other for one in laid[1:]),
        tuple(one.transform for one in laid[1:]),
        finer,
    )


def roles_of_others(count: int) -> list[str]:
    """What messages call the other volumes: the other one, or the second, third … of more."""
    if count == 1:
        return ["other"]
    return [*_ORDINALS, *(f"{number}th" for number in range(6, count + 2))][:count]


def _reference_and_others(
    reference: Volume | Sequence[Volume], other: Volume | None
) -> list[Volume]:
    volumes = [reference] if isinstance(reference, Volume) else list(reference)
    volumes += [] if other is None else [other]
    if len(volumes) < 2:
        raise InputError("A fusion needs a reference and at least one other volume.")
    return volumes


def checked_volumes(
    volumes: list[Volume], allow_nonfinite: bool, force: bool, warnings: list[str]
) -> tuple[Volume, list[Volume]]:
    """The reference and the others, fit to be fused and of one patient."""
    roles = ["reference", *roles_of_others(len(volumes) - 1)]
    for (one, role), (two, role_two) in combinations(zip(volumes, roles, strict=True), 2):
        refuse_two_patients(one, two, force, warnings, (role, role_two))
    reference, *others = (
        checked_input(one, role, allow_nonfinite, warnings)
        for one, role in zip(volumes, roles, strict=True)
    )
    if reference.is_colour:
        raise InputError("The reference volume is a colour image. Choose a scalar MR or CT volume.")
    return reference, others


def _laid(
    reference: Volume,
    others: list[Volume],
    ways: tuple[Any, Any],
    force: bool,
    warnings: list[str],
    progress: Progress | None,
    cancel: Cancel | None,
) -> list[LaidOn]:
    """Each of the others on the reference, by itself; ``ways``: `fuse`'s alignment and initial."""
    told_of_each: list[list[str]] = [[] for _ in others]
    alignments = for_each(ways[0], others, "alignment")
    starts = for_each(ways[1], others, "initial transform")
    laid = [
        lay(reference, one, way, start, force, told, progress, cancel)
        for one, way, start, told in zip(others, alignments, starts, told_of_each, strict=True)
    ]
    warnings += _named_by_role(told_of_each)
    return laid


def _named_by_role(told_of_each: list[list[str]]) -> list[str]:
    """The sentences on each of the others, with its role before them where there are several."""
    if len(told_of_each) == 1:
        return told_of_each[0]
    return [
        f"{role.capitalize()} volume: {sentence}"
        for role, told in zip(roles_of_others(len(told_of_each)), told_of_each, strict=True)
        for sentence in told
    ]


def for_each(setting: Any, others: Sequence[Volume], name: str) -> list[Any]:
    """One setting for each of the others, from a list of them or from one that serves all."""
    if not isinstance(setting, list):
        is_for_one = setting is not None and not isinstance(setting, str)
        if len(others) > 1 and (is_for_one or (name == "colour" and setting not in _FOR_ANY)):
            raise InputError(
                f"One {name} was given for {len(others)} other volumes. Give one for each of them."
            )
        return [setting] * len(others)
    if len(setting) != len(others):
        raise InputError(
            f"Of the setting '{name}' there are {len(setting)} for {len(others)} other volumes. "
            "Give one for each of them."
        )
    return setting


def _for_several_again(rebuild: Rebuild) -> Rebuild:
    return lambda device: for_several(rebuild(device))


def _describe_method(method: FusionMethod, options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "method": method.name,
        "method_kind": method_card(method.name).kind,
        "method_options": dict(options or {}),
        "weights_sha256": getattr(method, "weights_sha256", None),
        "seed": getattr(method, "seed", None),
    }


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


def _describe_sources(
    reference: Layer, others: list[Volume], laid: list[LaidOn], layers: list[Layer]
) -> dict[str, Any]:
    """What the report tells of the sources, and of how each of the others was laid and coloured."""
    described = [
        {**_describe(one, layer.window), "colour": layer.colour_map or "grey"}
        for one, layer in zip(others, layers, strict=True)
    ]
    maps = (layer.colour_map for layer in layers)
    return {
        "colour": next((one for one in maps if one is not None), "grey"),
        "reference": _describe(reference.volume, reference.window),
        "other": described[0],
        **laid[0].report,
        "further": [
            {**one, **placed.report} for one, placed in zip(described[1:], laid[1:], strict=True)
        ],
    }


def _training_warning(trained: tuple[str, ...], modality: str, method: str) -> list[str]:
    if modality == "unknown" or modality in trained:
        return []
    known = ", ".join(trained)
    return [f"The method '{method}' was made for {known}, not for {modality}. Look twice."]


def _made_up(sources: Sequence[Volume]) -> dict[str, str]:
    """The mark of a volume that was fused from a synthetic one, which only force does."""
    notes = [note for note in map(synthetic_note, sources) if note]
    return {METADATA: f"fusion with {notes[0]}"} if notes else {}


def _provenance(reference: Volume, report: Mapping[str, Any]) -> dict[str, str]:
    kept = ("frame_of_reference_uid", "study_uid", "study_date", *IDENTITY_FIELDS)
    inherited = {key: reference.metadata[key] for key in kept if key in reference.metadata}
    finer = {"medfusion_grid": report["grid"]["text"]} if report["grid"] else {}
    made_up = {METADATA: report[METADATA]} if METADATA in report else {}
    return (
        inherited
        | finer
        | made_up
        | {
            "medfusion_method": str(report["method"]),
            "medfusion_version": str(report["version"]),
            "medfusion_weights_sha256": str(report["weights_sha256"] or ""),
        }
    )
