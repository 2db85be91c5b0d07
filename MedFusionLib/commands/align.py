"""``medfusion align``: the other volume laid on the reference, judged, and its transform."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from MedFusionLib.commands.common import GEOMETRY_HELP, print_json, progress_bar, say
from MedFusionLib.errors import InputError, RegistrationError
from MedFusionLib.outputs import refuse_collisions, together

if TYPE_CHECKING:
    from SimpleITK import Transform

    from MedFusionLib.registration.align import Alignment
    from MedFusionLib.registration.landmarks import Landmarks
    from MedFusionLib.volumes.volume import Volume


def align_command(
    reference: Path = typer.Argument(help="Reference volume (MR): file or DICOM folder."),
    other: Path = typer.Argument(help="Other volume (CT, PET, SPECT): file or DICOM folder."),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Other volume on the reference's grid, to write."
    ),
    check: bool = typer.Option(
        False,
        "--check",
        help="Only say, in seconds, whether the volumes lie on each other; writes nothing.",
    ),
    transform_out: Path | None = typer.Option(
        None, help="Also write the transform here (.tfm, .h5): reference to other space, LPS."
    ),
    kind: str = typer.Option("rigid", help="rigid, affine, deformable, or none (only judge)."),
    initial: Path | None = typer.Option(
        None, help="Transform to start from (to judge, with --kind none or --check)."
    ),
    landmarks: tuple[Path, Path] | None = typer.Option(
        None,
        metavar="REFERENCE OTHER",
        help="Points placed on both volumes (.mrk.json, .fcsv; three or more pairs): the start "
        "instead of --initial, and a check whose distance is reported.",
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
    output = None if check else _checked_outputs(output, transform_out, pictures, kind)
    refuse_collisions(
        {"--output": output, "--transform-out": transform_out, "--pictures": pictures},
        (reference, other, initial, *(landmarks or ())),
    )

    from MedFusionLib.registration.align import align
    from MedFusionLib.registration.overlap import read_transform
    from MedFusionLib.volumes.files import read_volume, refuse_unheld
    from MedFusionLib.volumes.identity import refuse_two_patients

    placed = None if landmarks is None else _placed(landmarks, initial)
    start = None if initial is None else read_transform(initial)
    start = start if placed is None else placed.rigid()
    say(f"Reading {reference} and {other}", quiet)
    volumes = (
        read_volume(reference, modality_a, series_a, geometry),
        read_volume(other, modality_b, series_b, geometry),
    )
    warnings: list[str] = []
    refuse_two_patients(*volumes, force, warnings)
    for warning in warnings:
        say(f"Warning: {warning}", quiet)
    if output is None:
        _say_whether_they_lie_on_each_other(*volumes, start, quiet, as_json)
        return
    refuse_unheld(output, volumes[0], volumes[1].voxels.dtype, volumes[1].is_colour)
    with progress_bar(quiet) as progress:
        found = align(*volumes, kind=kind, initial=start, seed=seed, progress=progress, force=force)
    checked = {} if placed is None else {"landmarks": placed.to_report(found.transform)}
    if as_json:
        print_json({**found.to_report(), **checked})
    _say_verdict(found, quiet)
    if checked:
        _say_distances(checked["landmarks"], quiet)
    if found.quality.verdict == "failed" and not force:
        raise RegistrationError(
            f"The volumes could not be aligned, and nothing was written: {found.quality.reason} "
            "Write it all the same with --force."
        )
    _write_outputs(found, volumes[0], output, transform_out, pictures)
    say(f"Wrote {output}.", quiet)


def _say_whether_they_lie_on_each_other(
    reference: Volume, other: Volume, start: Transform | None, quiet: bool, as_json: bool
) -> None:
    from MedFusionLib.registration.quick_check import quick_check

    seen = quick_check(reference, other, start)
    if as_json:
        print_json(seen.to_report())
    say(seen.sentence, quiet)


def _checked_outputs(
    output: Path | None, transform_out: Path | None, pictures: Path | None, kind: str
) -> Path:
    if output is None:
        raise InputError(
            "There is no place for the aligned volume. Name a file with --output, or only check "
            "the positions with --check."
        )

    from MedFusionLib.outputs import refuse_unwritable_folder
    from MedFusionLib.registration.transforms import check_transform_path
    from MedFusionLib.volumes.files import check_writable

    check_writable(output)
    if transform_out is not None:
        check_transform_path(transform_out)
        if kind == "deformable" and transform_out.suffix.lower() != ".h5":
            raise InputError(
                "A displacement field is written as .h5 only. End the transform's name with .h5."
            )
    if pictures is not None:
        if pictures.is_file():
            raise InputError(f"'{pictures}' is a file. Name a folder for the pictures.")
        refuse_unwritable_folder(pictures if pictures.is_dir() else pictures.parent)
    return output


def _placed(files: tuple[Path, Path], initial: Path | None) -> Landmarks:
    from MedFusionLib.registration.landmarks import read_landmarks

    if initial is not None:
        raise InputError("Landmarks and --initial are two starts. Give one of them.")
    return read_landmarks(*files)


def _say_distances(report: dict[str, Any], quiet: bool) -> None:
    say(
        f"Landmarks: {len(report['points'])} pairs lie {report['mean_mm']:.1f} mm from each other "
        f"on average, {report['largest_mm']:.1f} mm at most.",
        quiet,
    )


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
