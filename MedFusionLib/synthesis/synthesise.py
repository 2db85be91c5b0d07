"""The whole way: two MR sequences in, a synthetic third one and its expected error out.

Volume → alignment → intensity → slices → Hi-Net → slices → Volume, as ``fusion`` has it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib.computing.device import choose_device, run_in_batches
from MedFusionLib.errors import InputError, RegistrationError
from MedFusionLib.methods.hinet.weight_file import METHOD, load_network
from MedFusionLib.registration import overlap as overlaps
from MedFusionLib.registration.align import Cancel, Progress, align
from MedFusionLib.slices.intensity import Window, choose_window
from MedFusionLib.slices.stack import slice_stack
from MedFusionLib.synthesis.sequences import known_sequence, sequences_of
from MedFusionLib.synthesis.slice_synthesis import SliceSynthesis
from MedFusionLib.version import __version__
from MedFusionLib.volumes.identity import IDENTITY_FIELDS, refuse_two_patients
from MedFusionLib.volumes.synthetic import marked, refuse_synthetic
from MedFusionLib.volumes.validation import checked_input
from MedFusionLib.volumes.volume import Volume, same_grid

if TYPE_CHECKING:
    import SimpleITK

ALIGNMENTS = ("rigid", "affine", "resample", "none")
UNUSUAL_INPUT = 0.12
"""Inputs that the network rebuilds with a larger mean error than this, of 1, are told of."""


@dataclass(frozen=True)
class SynthesisResult:
    """What was made up, on the first volume's grid, and how (plain JSON values)."""

    volume: Volume
    """int16 0 … 4095, exactly 0 where there was nothing to go by; marked as synthetic."""
    expected_error: Volume
    """The error that the network expects of itself, in the same units; marked likewise."""
    report: dict[str, Any]
    aligned: Volume
    """The second volume on the first one's grid."""


@dataclass(frozen=True)
class _Laid:
    volume: Volume
    covered: np.ndarray
    """Voxels of the first volume's grid that the second one reaches."""
    report: dict[str, Any]


def synthesise(
    first: Volume,
    second: Volume,
    *,
    sequences: Sequence[str | None] = (None, None),
    target: str | None = None,
    alignment: str = "rigid",
    weights: str | Path | None = None,
    device: str = "auto",
    windows: tuple[str | tuple[float, float], str | tuple[float, float]] = (
        "percentile",
        "percentile",
    ),
    batch_size: int | None = None,
    allow_nonfinite: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> SynthesisResult:
    """Make up the MR sequence that is missing, slice by slice, on the grid of ``first``.

    ``sequences`` says what the volumes are, where their names do not (``sequences_of``); the order
    does not matter to the network. ``target`` must be what the weights were trained for; ``None``
    takes that. ``alignment`` lays ``second`` on ``first``: ``rigid`` or ``affine`` register them,
    ``resample`` trusts their positions, ``none`` wants one grid. ``weights``: a file of ``medfusion
    train hinet`` or ``import-weights hinet`` instead of the shipped one. ``windows``: see
    ``intensity.choose_window``; the network was trained on ``percentile``. ``force`` goes on where
    the patients differ or the registration failed, but not with synthetic inputs: what was made up
    from what was made up tells nothing at all.

    Raises ``InputError`` where the sequences are not clear or are none that the network was trained
    on, and for whatever is no MR volume; ``IdentityError`` for two patients and for synthetic
    inputs; ``RegistrationError``, ``GeometryError``, ``WeightsError``, ``DeviceError``.
    """
    started = time.perf_counter()
    warnings: list[str] = []
    chosen = choose_device(device)
    network, sha256 = load_network(None if weights is None else Path(weights))
    refuse_synthetic({"first": first, "second": second}, False, warnings)
    roles = sequences_of((first, second), sequences)
    exchanged = _exchanged(roles, network.architecture.inputs, network.architecture.target, target)
    refuse_two_patients(first, second, force, warnings)
    first = _checked(first, "first", allow_nonfinite, warnings)
    second = _checked(second, "second", allow_nonfinite, warnings)
    used = choose_window(first, windows[0]), choose_window(second, windows[1])
    laid = _laid(first, second, alignment, force, warnings, progress, cancel)
    inputs, input_windows = [first, laid.volume], list(used)
    if exchanged:
        inputs.reverse()
        input_windows.reverse()
    made, error = (np.zeros(first.grid_shape, np.int16) for _ in range(2))
    stacks = [
        slice_stack(array, first.direction_matrix, "axial")
        for array in (inputs[0].voxels, inputs[1].voxels, laid.covered, made, error)
    ]
    work = SliceSynthesis(network, chosen.device, input_windows, *stacks)
    for done in run_in_batches(work, len(stacks[0]), batch_size, cancel):
        if progress is not None:
            progress(done, len(stacks[0]), "Making up slices")
    missed = work.mean_misses()
    for role, miss in zip(network.architecture.inputs, missed, strict=True):
        if miss > UNUSUAL_INPUT:
            warnings.append(
                f"The {role} volume looks unlike those that the network was trained on (it rebuilds "
                f"it with a mean error of {miss:.2f} of its range). Do not trust the result."
            )
    note = f"{network.architecture.target} from {roles[0]} and {roles[1]} by MedFusion {METHOD}"
    report = {
        "version": __version__,
        "method": METHOD,
        "synthetic": note,
        "target": network.architecture.target,
        "weights_sha256": sha256,
        "device": str(chosen.device),
        "plane": "axial",
        "slices": len(stacks[0]),
        "reference": _described(first, roles[0], used[0]),
        "other": _described(second, roles[1], used[1]),
        **laid.report,
        "error_map": _kind_of_error(network.architecture.expects_error),
        "mean_expected_error": _mean_inside(error, made),
        "rebuilding_error": dict(zip(network.architecture.inputs, missed, strict=True)),
        "warnings": warnings,
        "seconds": {"total": time.perf_counter() - started},
    }
    known = _inherited(first, report)
    volume = marked(replace(first, voxels=made, modality="MR", metadata=known), note)
    errors = marked(replace(volume, voxels=error), f"expected error of a {note}")
    return SynthesisResult(volume, errors, report, laid.volume)


def _exchanged(
    roles: tuple[str, str], trained: tuple[str, str], made: str, wanted: str | None
) -> bool:
    """Whether the volumes stand in the other order than the network takes them.

    Raises ``InputError`` for sequences and targets that the weights were not trained for.
    """
    if wanted is not None and known_sequence(wanted) != made:
        raise InputError(
            f"These weights make {made} from {' and '.join(trained)}, not {known_sequence(wanted)}. "
            "Ask for that, or give weights that were trained for it (--weights)."
        )
    if set(roles) != set(trained):
        raise InputError(
            f"These weights make {made} from {' and '.join(trained)}; the volumes are "
            f"{' and '.join(roles)}. Choose other volumes, say what they are if their names mislead "
            "(--sequences), or give other weights (--weights)."
        )
    return roles != trained


def _checked(volume: Volume, ordinal: str, allow: bool, warnings: list[str]) -> Volume:
    volume = checked_input(volume, ordinal, allow, warnings)
    if volume.is_colour:
        raise InputError(f"The {ordinal} volume is a colour image. Choose a scalar MR volume.")
    if volume.modality not in ("MR", "unknown"):
        raise InputError(
            f"The {ordinal} volume is {volume.modality}. A sequence can be made up from MR only."
        )
    return volume


def _laid(
    first: Volume,
    second: Volume,
    alignment: str,
    force: bool,
    warnings: list[str],
    progress: Progress | None,
    cancel: Cancel | None,
) -> _Laid:
    if alignment not in ALIGNMENTS:
        raise InputError(
            f"There is no alignment '{alignment}'. Choose one of: {', '.join(ALIGNMENTS)}."
        )
    if alignment == "none" and not same_grid(first, second):
        raise InputError(
            "The two volumes have different grids. Let the second one be laid on the first "
            "(--alignment rigid)."
        )
    transform: SimpleITK.Transform | None = None
    told: dict[str, Any] = {"transform": {"kind": alignment}}
    if alignment in ("rigid", "affine"):
        found = align(first, second, alignment, progress=progress, cancel=cancel, force=force)
        if found.quality.verdict == "failed" and not force:
            raise RegistrationError(f"The volumes could not be aligned: {found.quality.reason}")
        if found.quality.verdict != "pass":
            warnings.append(f"The alignment is {found.quality.verdict}: {found.quality.reason}")
        transform = found.transform
        told["registration"] = found.to_report()
    overlap = overlaps.describe_overlap(first, second, transform)
    if overlap.kind == overlaps.NO_OVERLAP or not force:
        overlaps.refuse_bad_overlap(overlap)
    everywhere = replace(second, voxels=np.ones(second.grid_shape, np.float32))
    everywhere.voxels[0, 0, 0] = 0  # what is outside takes the smallest value
    covered = overlaps.resample(everywhere, first, transform).voxels > 0.5
    share = float(covered.mean())
    if share < 1:
        warnings.append(
            f"The second volume covers {100 * share:.0f} % of the first one's grid. The rest of the "
            "result is empty."
        )
    told["covered"] = share
    return _Laid(overlaps.resample(second, first, transform), covered, told)


def _described(volume: Volume, sequence: str, window: Window) -> dict[str, Any]:
    return {
        "path": volume.metadata.get("source"),
        "modality": "MR",
        "sequence": sequence,
        "window": {"name": window.name, "low": window.low, "high": window.high},
        "shape": [int(length) for length in volume.grid_shape],
        "spacing": [float(step) for step in volume.spacing],
    }


def _kind_of_error(trained: bool) -> str:
    if trained:
        return (
            "Absolute error that the network expects of itself, learnt on modelled sequences; no "
            "bound, and blind to what it never saw"
        )
    return "Mean disagreement of both inputs with themselves, rebuilt by the network; no error"


def _mean_inside(error: np.ndarray, made: np.ndarray) -> float:
    inside = made > 0
    return float(error[inside].mean()) if inside.any() else 0.0


def _inherited(first: Volume, report: Mapping[str, Any]) -> dict[str, str]:
    kept = ("frame_of_reference_uid", "study_uid", "study_date", *IDENTITY_FIELDS)
    known = {key: first.metadata[key] for key in kept if key in first.metadata}
    return known | {
        "medfusion_method": METHOD,
        "medfusion_version": __version__,
        "medfusion_weights_sha256": str(report["weights_sha256"]),
    }
