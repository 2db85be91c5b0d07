"""``medfusion synthesise``: two MR sequences in, a synthetic third one out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from MedFusionLib.commands.common import (
    GEOMETRY_HELP,
    interrupts_held,
    print_json,
    progress_bar,
    say,
)
from MedFusionLib.errors import InputError
from MedFusionLib.outputs import Outputs, refuse_collisions, together

if TYPE_CHECKING:
    from MedFusionLib.synthesis import SynthesisResult
    from MedFusionLib.volumes.volume import Volume

DISCLAIMER = "is synthetic: a network made it up. It shows no finding that the inputs do not."


def synthesise_command(
    first: Path = typer.Argument(help="First MR volume, which gives the grid: file or folder."),
    second: Path = typer.Argument(help="Second MR volume, another sequence of the same person."),
    output: Path = typer.Option(
        ..., "--output", "-o", help="Synthetic volume to write; its name must say 'synthetic'."
    ),
    target: str | None = typer.Option(
        None,
        help="Sequence to make up; what the weights were trained for (shipped: T2 from T1 and PD, "
        "T1 from T2 and PD).",
    ),
    sequences: str | None = typer.Option(
        None, help="What the volumes are, such as T1,PD; needed where their names do not tell."
    ),
    alignment: str = typer.Option(
        "rigid", help="How the second is laid on the first: rigid, affine, resample or none."
    ),
    error: Path | None = typer.Option(
        None, help="Map of the expected error to write (default: OUTPUT_expected_error)."
    ),
    truth: Path | None = typer.Option(
        None, help="Acquired volume of the target, to score the result against it."
    ),
    weights: Path | None = typer.Option(None, help="Weight file instead of the shipped one."),
    device: str = typer.Option("auto", help="auto, cpu, cuda:0, …"),
    batch_size: int | None = typer.Option(None, min=1, help="Slices per batch."),
    series_a: str | None = typer.Option(None, help="Series UID in a DICOM folder, of the first."),
    series_b: str | None = typer.Option(None, help="The same for the second volume."),
    geometry: str | None = typer.Option(None, help=GEOMETRY_HELP),
    dicom: bool = typer.Option(False, "--dicom", help="Write a derived DICOM series to OUTPUT."),
    allow_nonfinite: bool = typer.Option(False, help="Take NaN and infinity as background."),
    force: bool = typer.Option(
        False, help="Go on although the alignment failed or the patients differ."
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print errors only."),
    as_json: bool = typer.Option(False, "--json", help="Print the report as JSON."),
) -> None:
    """Make up a missing MR sequence from two others. Trained on very little; for demonstration."""
    error = error or _beside(output, dicom)
    _check_outputs(output, error, dicom)
    refuse_collisions({"--output": output, "--error": error}, [first, second, weights, truth])
    roles = _two(sequences)
    volumes = [
        _read(path, series, geometry, quiet)
        for path, series in ((first, series_a), (second, series_b))
    ]
    _refuse_unheld(volumes[0], None if dicom else output, error)
    with interrupts_held():
        import torch  # noqa: F401
    from MedFusionLib.synthesis import synthesise

    with progress_bar(quiet) as progress:
        result = synthesise(
            *volumes,
            sequences=roles,
            target=target,
            alignment=alignment,
            weights=weights,
            device=device,
            batch_size=batch_size,
            allow_nonfinite=allow_nonfinite,
            force=force,
            progress=progress,
        )
    if truth is not None:
        acquired = _read(truth, None, geometry, quiet)
        result.report["scores"] = _scores(result, volumes[0], acquired, alignment, force)
    with together() as outputs:
        _write(outputs, result, volumes, output, error, dicom)
    if as_json:
        print_json(result.report)
    if "scores" in result.report:
        _say_scores(result.report["scores"], quiet)
    for warning in result.report["warnings"]:
        say(f"Warning: {warning}", quiet)
    say(f"Wrote {output} ({result.report['synthetic']}) and {error}. It {DISCLAIMER}", quiet)


def _beside(output: Path, dicom: bool) -> Path:
    from MedFusionLib.volumes.files import WRITABLE_SUFFIXES

    if dicom:
        return output.with_name(f"{output.name}_expected_error.nrrd")
    for suffix in WRITABLE_SUFFIXES:
        if output.name.lower().endswith(suffix):
            stem = output.name[: -len(suffix)]
            return output.with_name(f"{stem}_expected_error{output.name[-len(suffix) :]}")
    return output.with_name(f"{output.name}_expected_error.nrrd")


def _check_outputs(output: Path, error: Path, dicom: bool) -> None:
    from MedFusionLib.outputs import refuse_unwritable_folder
    from MedFusionLib.volumes.files import check_writable
    from MedFusionLib.volumes.synthetic import names_synthetic

    for path in (output, error):
        if not names_synthetic(path.name):
            raise InputError(
                f"The name '{path.name}' must say that the volume is synthetic. Call it, for "
                f"example, 'synthetic_{path.name}'."
            )
    check_writable(error)
    if not dicom:
        check_writable(output)
        return
    refuse_unwritable_folder(output.parent)
    if output.exists() and (output.is_file() or any(output.iterdir())):
        raise InputError(f"'{output}' is not an empty folder. Choose a new one for DICOM.")


def _two(sequences: str | None) -> tuple[str | None, str | None]:
    from MedFusionLib.synthesis.sequences import known_sequence

    if sequences is None:
        return None, None
    named = sequences.split(",")
    if len(named) != 2:
        raise InputError(f"'{sequences}' is not two sequences. Write them like T1,PD.")
    return known_sequence(named[0]), known_sequence(named[1])


def _read(path: Path, series: str | None, geometry: str | None, quiet: bool) -> Volume:
    from MedFusionLib.volumes.files import read_volume

    say(f"Reading {path}", quiet)
    return read_volume(path, None, series, geometry)


def _refuse_unheld(first: Volume, output: Path | None, error: Path) -> None:
    """Before the work starts: formats that cannot hold what will come out of it."""
    from MedFusionLib.volumes.files import refuse_sheared, refuse_unheld

    if output is None:
        refuse_sheared(first, "a DICOM series")
    for path in (output, error):
        if path is not None:
            refuse_unheld(path, first, np.dtype(np.int16), False)


def _scores(
    result: SynthesisResult, first: Volume, truth: Volume, alignment: str, force: bool
) -> dict[str, Any]:
    from MedFusionLib.evaluation.synthesis_scores import score_synthesis
    from MedFusionLib.laying import lay

    laid = lay(first, truth, alignment, None, force, result.report["warnings"], None, None)
    return score_synthesis(result, first, laid.other)


def _say_scores(scores: dict[str, Any], quiet: bool) -> None:
    for name, row in scores["images"].items():
        figures = ", ".join(f"{key.upper()} {value:.3f}" for key, value in row.items())
        say(f"{name}: {figures}", quiet)
    told = ", ".join(f"{key} {value:.2f}" for key, value in scores["error_map"].items())
    say(f"error map: {told}", quiet)


def _write(
    outputs: Outputs,
    result: SynthesisResult,
    sources: list[Volume],
    output: Path,
    error: Path,
    dicom: bool,
) -> None:
    from MedFusionLib.volumes.dicom_export import export_dicom
    from MedFusionLib.volumes.dicom_grid import right_handed
    from MedFusionLib.volumes.files import read_volume, refuse_unlike, write_volume

    if dicom:
        folder = outputs.folder(output)
        one, two = (source.metadata for source in sources)
        export_dicom(result.volume, one, result.report, folder, two)
        refuse_unlike(right_handed(result.volume), read_volume(folder), folder.name)
    else:
        write_volume(result.volume, outputs.file(output))
    write_volume(result.expected_error, outputs.file(error))
