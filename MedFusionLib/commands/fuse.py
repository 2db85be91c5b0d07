"""``medfusion fuse``: two or more volumes in, one fused volume out."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from MedFusionLib.commands.common import (
    COLOUR_HELP,
    GEOMETRY_HELP,
    interrupts_held,
    print_json,
    progress_bar,
    say,
)
from MedFusionLib.commands.further import ONCE_EACH, Further
from MedFusionLib.errors import InputError
from MedFusionLib.methods import method_card
from MedFusionLib.outputs import Outputs, refuse_collisions, together

if TYPE_CHECKING:
    import SimpleITK

    from MedFusionLib.fusion import FusionResult
    from MedFusionLib.volumes.volume import Volume

WINDOW_HELP = (
    "auto, brain, bone, full, percentile, maximum, suv, 8bit, or low:high in stored values."
)


def fuse_command(
    reference: Path = typer.Argument(help="Reference volume (MR): file or DICOM folder."),
    other: Path = typer.Argument(help="Other volume (CT, PET, SPECT): file or DICOM folder."),
    further: list[Path] = typer.Argument(None, help="Further volumes of the same patient."),
    output: Path = typer.Option(..., "--output", "-o", help="Fused volume to write."),
    method: str = typer.Option("", help="Fusion method; see 'medfusion methods'."),
    alignment: str = typer.Option("resample", help="none, resample, rigid, affine or deformable."),
    transform: Path | None = typer.Option(
        None, help="Transform file from reference space to other space (.tfm, .h5), LPS."
    ),
    initial: Path | None = typer.Option(
        None, help="Transform file from which --alignment rigid or affine starts."
    ),
    device: str = typer.Option("auto", help="auto, cpu, cuda:0, …"),
    precision: str = typer.Option("auto", help="auto, float32, bfloat16 or float16."),
    batch_size: int | None = typer.Option(None, min=1, help="Slices per batch."),
    plane: str = typer.Option("axial", help="axial, coronal or sagittal."),
    planes: str = typer.Option(
        "one", help="one, or three: fused along all three axes, whose mean has no streaks."
    ),
    colour: str = typer.Option("auto", help=COLOUR_HELP),
    window_a: str = typer.Option("auto", help=f"Window of the reference: {WINDOW_HELP}"),
    window_b: str = typer.Option("auto", help="Window of the other volume, likewise."),
    modality_a: str | None = typer.Option(None, help="MR, CT, PET or SPECT."),
    modality_b: str | None = typer.Option(None, help="MR, CT, PET or SPECT."),
    series_a: str | None = typer.Option(
        None, "--series", help="Series UID in a DICOM folder; UID:NAME=VALUE for one stack of it."
    ),
    series_b: str | None = typer.Option(None, help="The same for the other volume."),
    further_modality: list[str] = typer.Option([], help=f"Modality, or auto, {ONCE_EACH}"),
    further_series: list[str] = typer.Option([], help=f"Series UID {ONCE_EACH}"),
    further_window: list[str] = typer.Option([], help=f"Window {ONCE_EACH}"),
    further_alignment: list[str] = typer.Option(
        [], help=f"Alignment, or transform file, {ONCE_EACH} As that of the other if not given."
    ),
    further_colour: list[str] = typer.Option(
        [], help=f"Colour {ONCE_EACH} Two volumes in colour are red and blue."
    ),
    geometry: str | None = typer.Option(None, help=GEOMETRY_HELP),
    aligned: Path | None = typer.Option(None, help="Also write the aligned other volume here."),
    uncertainty: Path | None = typer.Option(
        None, help="Also write the standard deviation over the method's noise draws (dmfnet) here."
    ),
    hidden: Path | None = typer.Option(
        None, help="Also write the map of what is hidden here: per cent of the local contrast."
    ),
    report: Path | None = typer.Option(None, help="Write a report (.html or .json) here."),
    option: list[str] = typer.Option([], help="NAME=VALUE for the method; may be repeated."),
    dicom: bool = typer.Option(False, "--dicom", help="Write a derived DICOM series to OUTPUT."),
    navigation: bool = typer.Option(
        False,
        "--navigation",
        help="Write DICOM for a navigation system to OUTPUT: MR images, registration, blending.",
    ),
    square_pixels: bool = typer.Option(
        False, "--square-pixels", help="With --dicom or --navigation: pixels as high as wide."
    ),
    allow_nonfinite: bool = typer.Option(False, help="Take NaN and infinity as background."),
    force: bool = typer.Option(
        False, help="Fuse although the alignment is in doubt or the patients differ."
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print errors only."),
    as_json: bool = typer.Option(False, "--json", help="Print the report as JSON."),
) -> None:
    """Fuse two or more volumes. The result lies on the reference's grid."""
    # Everything that can be refused cheaply is refused before a large file is read.
    method_name = _known_method(method)
    options = _method_options(option)
    form = _DicomForm(dicom or navigation, navigation, square_pixels)
    beside = Further(
        further or [],
        further_modality,
        further_series,
        further_window,
        further_alignment,
        further_colour,
    )
    if planes != "one" and uncertainty is not None:
        raise InputError("--uncertainty is offered along one plane only. Leave --planes away.")
    if beside.paths:
        _refuse_for_two_only({"--navigation": navigation, "--uncertainty": uncertainty})
    _check_outputs(output, form.wanted, (aligned, uncertainty, hidden), report)
    _refuse_collisions(
        {"--output": output, "--aligned": aligned, "--uncertainty": uncertainty}
        | {"--hidden": hidden, "--report": report},
        (reference, other, *beside.paths, transform, initial, *beside.transform_files()),
        options,
    )
    used, start = _transforms(alignment, transform, initial)
    alignments = [used, *beside.alignment_choices(used)]
    started = time.perf_counter()
    volumes = (
        _read(reference, modality_a, series_a, geometry, quiet),
        _read(other, modality_b, series_b, geometry, quiet),
        *beside.read(geometry),
    )
    if navigation:
        _refuse_unfit_for_navigation(volumes, used)
    colours = [colour, *beside.colour_choices()]
    _refuse_unheld(volumes, output, form.wanted, colours, (aligned, uncertainty, hidden))
    seconds_read = time.perf_counter() - started

    with interrupts_held():
        import torch  # noqa: F401
    from MedFusionLib.fusion import fuse
    from MedFusionLib.uncertainty import fuse_with_uncertainty
    from MedFusionLib.volumes.files import write_volume

    with progress_bar(quiet) as progress:
        settings: dict[str, Any] = {
            "method": method_name,
            "alignment": alignments,
            "device": device,
            "colour": colours,
            "initial": [start, *[None] * len(beside.paths)],
            "plane": plane,
            "planes": planes,
            "window_reference": _window(window_a),
            "window_other": [_window(window_b), *beside.window_choices()],
            "precision": precision,
            "batch_size": batch_size,
            "allow_nonfinite": allow_nonfinite,
            "force": force,
            "method_options": options,
            "progress": progress,
        }
        spread = None
        if uncertainty is None:
            result = fuse(volumes, **settings)
        else:
            result, spread = fuse_with_uncertainty(volumes[0], volumes[1], **settings)
    result.report["seconds"]["read"] = seconds_read
    if hidden is not None or report is not None:
        result.report["hidden"] = result.hidden.figures
    with together() as outputs:
        told = _write_outputs(outputs, result, volumes, output, form, aligned, report)
        if hidden is not None:
            write_volume(result.hidden.worse, outputs.file(hidden))
        if uncertainty is not None and spread is not None:
            write_volume(spread, outputs.file(uncertainty))
    if as_json:
        print_json(result.report)
    for warning in result.report["warnings"]:
        say(f"Warning: {warning}", quiet)
    if "hidden" in result.report:
        say(result.report["hidden"]["sentence"], quiet)
    for note in told:
        say(note, quiet)
    speed = result.report["slices"] / result.report["seconds"]["fuse"]
    say(f"Wrote {output} ({result.report['slices']} slices, {speed:.1f} slices/s).", quiet)


@dataclass(frozen=True)
class _DicomForm:
    """Whether DICOM is written, and which."""

    wanted: bool
    for_navigation: bool
    square_pixels: bool

    def __post_init__(self) -> None:
        if self.square_pixels and not self.wanted:
            raise InputError(
                "--square-pixels is for DICOM. Give --dicom or --navigation with it, or leave it."
            )


def _refuse_for_two_only(options: dict[str, Any]) -> None:
    for name, given in options.items():
        if given:
            raise InputError(
                f"{name} is offered for two volumes only. Leave the further volumes or {name} away."
            )


def _known_method(name: str) -> str:
    from MedFusionLib.methods import DEFAULT_METHOD

    return method_card(name or DEFAULT_METHOD).name


def _method_options(texts: list[str]) -> dict[str, Any]:
    """``draws=3`` as a number, ``weights=FILE`` as text."""
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"'{text}' is not an option of a method. Give NAME=VALUE.")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options


def _window(text: str) -> str | None:
    return None if text == "auto" else text


def _transforms(
    alignment: str, transform: Path | None, initial: Path | None
) -> tuple[str | SimpleITK.Transform, SimpleITK.Transform | None]:
    """What ``fuse`` takes as alignment and as initial transform."""
    from MedFusionLib.registration.overlap import read_transform

    if transform is not None and alignment != "resample":
        raise InputError(
            f"--transform lays the other volume by a transform, and --alignment {alignment} by "
            "other means. Leave one away, or give the transform as --initial to start from it."
        )
    used = alignment if transform is None else read_transform(transform)
    return used, None if initial is None else read_transform(initial)


def _read(
    path: Path, modality: str | None, series: str | None, geometry: str | None, quiet: bool
) -> Volume:
    from MedFusionLib.volumes.files import read_volume

    say(f"Reading {path}", quiet)
    return read_volume(path, modality, series, geometry)


def _refuse_collisions(
    outputs: dict[str, Path | None], inputs: tuple[Path | None, ...], options: dict[str, Any]
) -> None:
    """Files that the method reads, such as weights, are inputs, too."""
    texts = (value for value in options.values() if isinstance(value, str))
    refuse_collisions(outputs, [*inputs, *map(Path, texts)])


def _refuse_unfit_for_navigation(
    volumes: tuple[Volume, ...], alignment: str | SimpleITK.Transform
) -> None:
    """Before the work starts: what could not be written for a navigation system."""
    from MedFusionLib.navigation import refuse_no_dicom, refuse_nonlinear, refuse_two_people

    reference, other = (volume.metadata for volume in volumes[:2])
    refuse_no_dicom(reference)
    refuse_two_people(reference, other)
    if not isinstance(alignment, str) and not alignment.IsLinear():
        refuse_nonlinear()


def _refuse_unheld(
    volumes: tuple[Volume, ...],
    output: Path,
    dicom: bool,
    wanted_colours: list[str],
    further: tuple[Path | None, Path | None, Path | None],
) -> None:
    """Before the work starts: formats that cannot hold what will come out of it."""
    from MedFusionLib.slices.painting import choose_colour_maps
    from MedFusionLib.volumes.files import refuse_sheared, refuse_unheld

    reference, *others = volumes
    other = others[0]
    if dicom:
        refuse_sheared(reference, "a DICOM series")
    else:
        maps = choose_colour_maps(others, wanted_colours)
        is_colour = any(colour_map is not None for colour_map in maps)
        fused_type = np.dtype(np.uint8 if is_colour else np.int16)
        refuse_unheld(output, reference, fused_type, is_colour)
    aligned, uncertainty, hidden = further
    if aligned is not None:
        refuse_unheld(aligned, reference, other.voxels.dtype, other.is_colour)
    if uncertainty is not None:
        refuse_unheld(uncertainty, reference, np.dtype(np.float32), False)
    if hidden is not None:
        refuse_unheld(hidden, reference, np.dtype(np.uint8), False)


def _check_outputs(
    output: Path, dicom: bool, further: tuple[Path | None, ...], report: Path | None
) -> None:
    from MedFusionLib.outputs import refuse_unwritable_file, refuse_unwritable_folder
    from MedFusionLib.volumes.files import check_writable

    if dicom:
        refuse_unwritable_folder(output.parent)
        if output.exists() and (output.is_file() or any(output.iterdir())):
            raise InputError(f"'{output}' is not an empty folder. Choose a new one for DICOM.")
    else:
        check_writable(output)
    for path in further:
        if path is not None:
            check_writable(path)
    if report is not None:
        refuse_unwritable_file(report)
        if report.suffix.lower() not in (".html", ".json"):
            raise InputError(f"'{report.name}' is no report format. End it with .html or .json.")


def _write_outputs(
    outputs: Outputs,
    result: FusionResult,
    sources: tuple[Volume, ...],
    output: Path,
    form: _DicomForm,
    aligned: Path | None,
    report: Path | None,
) -> list[str]:
    """Write everything; sentences on what was left out."""
    from MedFusionLib.volumes.files import write_volume

    told: list[str] = []
    if form.wanted:
        told = _write_dicom(outputs.folder(output), result, sources, form)
    else:
        write_volume(result.volume, outputs.file(output))
    if aligned is not None:
        write_volume(result.aligned_other, outputs.file(aligned))
    if report is not None:
        _write_report(result, sources[0], outputs.file(report))
    return told


def _write_dicom(
    folder: Path, result: FusionResult, sources: tuple[Volume, ...], form: _DicomForm
) -> list[str]:
    from MedFusionLib.navigation import export_for_navigation, place_of
    from MedFusionLib.volumes.dicom_export import export_dicom
    from MedFusionLib.volumes.dicom_grid import right_handed, with_square_pixels
    from MedFusionLib.volumes.files import read_volume, refuse_unlike

    one, two, *more = (source.metadata for source in sources)
    if form.for_navigation:
        place = place_of(sources[1])
        return export_for_navigation(
            result.volume, one, two, place, result.report, folder, form.square_pixels
        ).notes
    volume = with_square_pixels(result.volume) if form.square_pixels else result.volume
    export_dicom(volume, one, result.report, folder, two, more)
    refuse_unlike(right_handed(volume), read_volume(folder), folder.name)
    return []


def _write_report(result: FusionResult, reference: Volume, path: Path) -> None:
    from MedFusionLib.evaluation.reports.fusion_report import score_fusion, write_report
    from MedFusionLib.evaluation.reports.hidden_pictures import hidden_pictures
    from MedFusionLib.registration.pictures import quality_pictures

    if not result.aligned_further:
        # The field's scores are defined for two sources.
        result.report["metrics"] = score_fusion(
            reference, result.aligned_other, result.volume, result.report
        )
    pictures = quality_pictures(reference, result.aligned_other)
    write_report(result.report, path, pictures, hidden_pictures(result.volume, result.hidden))
