"""The whole way: two MR sequences in, a synthetic third one and its expected error out.

Volume → alignment → intensity → slices → Hi-Net → slices → Volume, as ``fusion`` has it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from MedFusionLib.computing.device import choose_device, run_in_batches
from MedFusionLib.errors import IdentityError, InputError
from MedFusionLib.laying import Cancel, LaidOn, Progress, lay
from MedFusionLib.methods.hinet.architecture import Architecture
from MedFusionLib.methods.hinet.weight_file import METHOD
from MedFusionLib.slices.intensity import Window, choose_window
from MedFusionLib.slices.stack import slice_stack
from MedFusionLib.synthesis.coverage import coverage, told_coverage
from MedFusionLib.synthesis.sequences import sequences_of
from MedFusionLib.synthesis.slice_synthesis import SliceSynthesis
from MedFusionLib.synthesis.trained_for import network_for
from MedFusionLib.version import __version__
from MedFusionLib.volumes.identity import IDENTITY_FIELDS, refuse_two_patients
from MedFusionLib.volumes.synthetic import METADATA, marked, synthetic_note
from MedFusionLib.volumes.validation import checked_input
from MedFusionLib.volumes.volume import Volume

TRAINED_ERROR = (
    "Absolute error that the network expects of itself, learnt on modelled sequences: no bound, "
    "and blind to what it never saw"
)
DISAGREEMENT = (
    "How badly the network rebuilds its own inputs: these weights know no better, and it was found "
    "to tell nothing of the error (docs/SYNTHESIS.md)"
)


@dataclass(frozen=True)
class SynthesisResult:
    """What was made up, on the first volume's grid, and how (plain JSON values)."""

    volume: Volume
    """int16 0 … 4095, exactly 0 where there was nothing to go by; marked as synthetic."""
    expected_error: Volume
    """What ``report["error_map"]`` says, in the same units; marked as synthetic, too."""
    report: dict[str, Any]
    aligned: Volume
    """The second volume on the first one's grid."""


def synthesise(
    first: Volume,
    second: Volume,
    *,
    sequences: Sequence[str | None] = (None, None),
    target: str | None = None,
    alignment: str = "rigid",
    weights: str | Path | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    allow_nonfinite: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> SynthesisResult:
    """Make up the MR sequence that is missing, slice by slice, on the grid of ``first``.

    ``sequences`` says what the volumes are, where their names do not (``sequences_of``); either may
    come first. ``target`` must be what the weights were trained for; ``None`` takes that.
    ``alignment`` lays ``second`` on ``first``: ``rigid`` or ``affine`` register them, ``resample``
    trusts their positions, ``none`` wants one grid. ``weights``: a file of ``medfusion train
    hinet`` or ``import-weights hinet``; without it, the shipped ones that fit. ``force`` goes on
    where the patients differ or the registration failed, but never with synthetic inputs: what was
    made up from what was made up tells nothing at all.

    Raises ``InputError`` where the sequences are not clear or are none that the network was trained
    on, and for whatever is no MR volume; ``IdentityError`` for two patients and for synthetic
    inputs; ``RegistrationError``, ``GeometryError``, ``WeightsError``, ``DeviceError``.
    """
    started = time.perf_counter()
    warnings: list[str] = []
    chosen = choose_device(device)
    _refuse_made_up(first, second)
    roles = sequences_of((first, second), sequences, warnings)
    network, sha256 = network_for(roles, target, weights)
    trained = network.architecture
    refuse_two_patients(first, second, force, warnings)
    first = _checked(first, "first", allow_nonfinite, warnings)
    second = _checked(second, "second", allow_nonfinite, warnings)
    windows = signal_window(first), signal_window(second)
    laid = lay(first, second, alignment, None, force, warnings, progress, cancel)
    covered = coverage(first, second, laid.transform)
    made, error = (np.zeros(first.grid_shape, np.int16) for _ in range(2))
    in_turn = _in_the_networks_order(roles, trained, (first, laid.other), windows)
    arrays = (*(volume.voxels for volume, _ in in_turn), covered, made, error)
    stacks = [slice_stack(array, first.direction_matrix, "axial") for array in arrays]
    work = SliceSynthesis(network, chosen.device, [window for _, window in in_turn], *stacks)
    for done in run_in_batches(work, len(stacks[0]), batch_size, cancel):
        if progress is not None:
            progress(done, len(stacks[0]), "Making up slices")
    report = {
        "version": __version__,
        "method": METHOD,
        METADATA: f"{trained.target} from {roles[0]} and {roles[1]} by MedFusion {METHOD}",
        "target": trained.target,
        "weights_sha256": sha256,
        "device": str(chosen.device),
        "plane": "axial",
        "slices": len(stacks[0]),
        "reference": _described(first, roles[0], windows[0]),
        "other": _described(second, roles[1], windows[1]),
        **laid.report,
        "covered": float(covered.mean()),
        "error_map": TRAINED_ERROR if trained.expects_error else DISAGREEMENT,
        "warnings": warnings + told_coverage(covered),
        "seconds": {"total": time.perf_counter() - started},
    }
    return _result(first, laid, made, error, report)


def _refuse_made_up(*volumes: Volume) -> None:
    for volume in volumes:
        if note := synthetic_note(volume):
            raise IdentityError(
                f"One of the volumes is synthetic itself ({note}). What is made up from what was "
                "made up tells nothing. Choose two acquired volumes."
            )


def signal_window(volume: Volume) -> Window:
    """From the smallest value, as no signal, to the 99.8th percentile inside the head.

    Unlike the window that fusion shows, it cuts nothing dark off: bone and fluid are dark in T1,
    and their being dark is what the network goes by.
    """
    high = choose_window(volume, "percentile").high
    return Window(float(volume.voxels.min()), high, "signal")


def _checked(volume: Volume, ordinal: str, allow: bool, warnings: list[str]) -> Volume:
    volume = checked_input(volume, ordinal, allow, warnings)
    if volume.is_colour:
        raise InputError(f"The {ordinal} volume is a colour image. Choose a scalar MR volume.")
    if volume.modality not in ("MR", "unknown"):
        raise InputError(
            f"The {ordinal} volume is {volume.modality}. A sequence can be made up from MR only."
        )
    return volume


def _in_the_networks_order(
    roles: tuple[str, str],
    trained: Architecture,
    volumes: tuple[Volume, Volume],
    windows: tuple[Window, Window],
) -> list[tuple[Volume, Window]]:
    pairs = list(zip(volumes, windows, strict=True))
    return pairs if roles == trained.inputs else pairs[::-1]


def _described(volume: Volume, sequence: str, window: Window) -> dict[str, Any]:
    return {
        "path": volume.metadata.get("source"),
        "modality": "MR",
        "sequence": sequence,
        "window": {"name": window.name, "low": window.low, "high": window.high},
        "shape": [int(length) for length in volume.grid_shape],
        "spacing": [float(step) for step in volume.spacing],
    }


def _result(
    first: Volume, laid: LaidOn, made: np.ndarray, error: np.ndarray, report: dict[str, Any]
) -> SynthesisResult:
    kept = ("frame_of_reference_uid", "study_uid", "study_date", *IDENTITY_FIELDS)
    known = {key: first.metadata[key] for key in kept if key in first.metadata}
    known |= {
        "medfusion_method": METHOD,
        "medfusion_version": __version__,
        "medfusion_weights_sha256": str(report["weights_sha256"]),
    }
    plain = replace(first, voxels=made, modality="MR", metadata=known)
    return SynthesisResult(
        marked(plain, report[METADATA]),
        marked(replace(plain, voxels=error), f"Expected error of {report[METADATA]}"),
        report,
        laid.other,
    )
