"""``medfusion align``: the other volume laid on the reference, judged, and its transform."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from MedFusionLib.commands.common import GEOMETRY_HELP, print_json, progress_bar, say
from MedFusionLib.errors import InputError, RegistrationError
from MedFusionLib.outputs import refuse_collisions, together

if TYPE_CHECKING:
    from MedFusionLib.registration.align import Alignment
    from MedFusionLib.volumes.volume import Volume


def align_command(
    reference: Path = typer.Argument(help="Reference volume (MR): file or DICOM folder."),
    other: Path = typer.Argument(help="Other volume (CT, PET, SPECT): file or DICOM folder."),
    output: Path = typer.Option(
        ..., "--output", "-o", help="Other volume on the reference's grid, to write."
    ),
    transform_out: Path | None = typer.Option(
        None, help="Also write the transform here (.tfm, .h5): reference to other space, LPS."
    ),
    kind: str = typer.Option("rigid", help="rigid, affine, or none (only judge)."),
    initial: Path | None = typer.Option(
        None, help="Transform to start from (or to judge, with --kind none)."
    ),
    seed: int = typer.Option(0, min=0, help="Seed of the samples; one seed repeats bit for bit."),
    pictures: Path | None = typer.Option(
        None, help="Folder for checkerboard and edge pictures; made if missing."
    ),
    modality_a: str | None = typer.Option(None, help="MR, CT, PET or SPECT."),
    modality_b: str | None = typer.Option(None, help="MR, CT, PET or SPECT."),
    series_a: str | None = typer.Option(
        None, "--series", help="Series UID in a DICOM folder; UID:NAME=VALUE for one stack of it."
    ),
    series_b: str | None = typer.Option(None, help="The same for the other volume."),
    geometry: str | None = typer.Option(None, help=GEOMETRY_HELP),
    force: bool = typer.Option(
        False, help="Write although the alignment failed or the patients differ."
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print errors only."),
    as_json: bool = typer.Option(False, "--json", help="Print the report as JSON."),
) -> None:
    """Align the other volume to the reference and say how far it can be trusted."""
    _check_outputs(output, transform_out, pictures)
    refuse_collisions(
        {"--output": output, "--transform-out": transform_out, "--pictures": pictures},
        (reference, other, initial),
    )

    from MedFusionLib.registration.align import align
    from MedFusionLib.registration.overlap import read_transform
    from MedFusionLib.volumes.files import read_volume, refuse_unheld
    from MedFusionLib.volumes.identity import refuse_two_patients

    start = None if initial is None else read_transform(initial)
    say(f"Reading {reference} and {other}", quiet)
    volumes = (
        read_volume(reference, modality_a, series_a, geometry),
        read_volume(other, modality_b, series_b, geometry),
    )
    warnings: list[str] = []
    refuse_two_patients(*volumes, force, warnings)
    for warning in warnings:
        say(f"Warning: {warning}", quiet)
    refuse_unheld(output, volumes[0], volumes[1].voxels.dtype, volumes[1].is_colour)
    with progress_bar(quiet) as progress:
        found = align(*volumes, kind=kind, initial=start, seed=seed, progress=progress, force=force)
    if as_json:
        print_json(found.to_report())
    _say_verdict(found, quiet)
    if found.quality.verdict == "failed" and not force:
        raise RegistrationError(
            f"The volumes could not be aligned, and nothing was written: {found.quality.reason} "
            "Write it all the same with --force."
        )
    _write_outputs(found, volumes[0], output, transform_out, pictures)
    say(f"Wrote {output}.", quiet)


def _check_outputs(output: Path, transform_out: Path | None, pictures: Path | None) -> None:
    from MedFusionLib.outputs import refuse_unwritable_folder
    from MedFusionLib.registration.transforms import check_transform_path
    from MedFusionLib.volumes.files import check_writable

    check_writable(output)
    if transform_out is not None:
        check_transform_path(transform_out)
    if pictures is not None:
        if pictures.is_file():
            raise InputError(f"'{pictures}' is a file. Name a folder for the pictures.")
        refuse_unwritable_folder(pictures if pictures.is_dir() else pictures.parent)


def _say_verdict(found: Alignment, quiet: bool) -> None:
    quality = found.quality
    evidence = quality.evidence
    say(f"Alignment: {quality.verdict}. {quality.reason}", quiet)
    say(quality.frames_sentence, quiet)
    say(
        f"Mutual information {evidence.mutual_information_before:.3f} before, "
        f"{evidence.mutual_information_after:.3f} after; the head moved by "
        f"{evidence.moved_mm:.1f} mm and turned by {evidence.turned_degrees:.0f}°; "
        f"{100 * evidence.overlap:.0f} % of it overlaps.",
        quiet,
    )


def _write_outputs(
    found: Alignment,
    reference: Volume,
    output: Path,
    transform_out: Path | None,
    pictures: Path | None,
) -> None:
    from MedFusionLib.registration.pictures import quality_pictures, write_pictures
    from MedFusionLib.registration.transforms import write_transform
    from MedFusionLib.volumes.files import write_volume

    with together() as outputs:
        write_volume(found.resampled, outputs.file(output))
        if transform_out is not None:
            write_transform(found.transform, outputs.file(transform_out))
        if pictures is not None:
            write_pictures(
                quality_pictures(reference, found.resampled), outputs.files_into(pictures)
            )
