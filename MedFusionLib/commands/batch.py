"""``medfusion batch``: a table of cases in, a folder of fused volumes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from MedFusionLib.commands.common import (
    COLOUR_HELP,
    GEOMETRY_HELP,
    interrupts_held,
    progress_bar,
    say,
)
from MedFusionLib.outputs import write_text

if TYPE_CHECKING:
    from MedFusionLib.batch.cases import Case, Outcome

SOME_FAILED = 1


def batch_command(
    cases: Path = typer.Argument(
        help="CSV: case, reference, other and, if wanted, transform, further_1 …, planes, grid, "
        "refinement."
    ),
    output: Path = typer.Option(..., "--output", "-o", help="Folder for the fused volumes."),
    method: str = typer.Option("", help="Fusion method; see 'medfusion methods'."),
    alignment: str = typer.Option("resample", help="none, resample, rigid or affine."),
    device: str = typer.Option("auto", help="auto, cpu, cuda:0, …"),
    plane: str = typer.Option("axial", help="axial, coronal or sagittal."),
    planes: str = typer.Option("one", help="one or three. The table's column counts before this."),
    grid: str = typer.Option("reference", help="reference, isotropic or finest, likewise."),
    refinement: str = typer.Option("interpolation", help="interpolation or network, likewise."),
    colour: str = typer.Option("auto", help=COLOUR_HELP),
    window_a: str = typer.Option("auto", help="Window of the references."),
    window_b: str = typer.Option("auto", help="Window of the other volumes."),
    modality_a: str | None = typer.Option(None, help="Modality of all references."),
    modality_b: str | None = typer.Option(None, help="Modality of all other volumes."),
    geometry: str | None = typer.Option(None, help=GEOMETRY_HELP),
    allow_nonfinite: bool = typer.Option(False, help="Take NaN and infinity as background."),
    force: bool = typer.Option(False, help="Fuse although an alignment is in doubt."),
    resume: bool = typer.Option(False, help="Skip the cases that are done."),
    cluster: str = typer.Option("", help="Run on Dask: local, local:N or tcp://HOST:PORT."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print errors only."),
) -> None:
    """Fuse many cases. DIR/summary.csv tells status, time and error of each.

    All settings and files are looked at before the first case.
    """
    from MedFusionLib.batch import checks
    from MedFusionLib.batch.case_settings import refuse_bad_case_settings
    from MedFusionLib.batch.cases import FAILED, output_path, read_cases, run_cases, summary_text
    from MedFusionLib.methods import DEFAULT_METHOD, method_card

    settings = {
        "method": method_card(method or DEFAULT_METHOD).name,
        "alignment": alignment,
        "device": device,
        "plane": plane,
        "planes": planes,
        "grid": grid,
        "refinement": refinement,
        "colour": colour,
        "window_reference": window_a,
        "window_other": window_b,
        "modalities": (modality_a, modality_b),
        "geometry": geometry,
        "allow_nonfinite": allow_nonfinite,
        "force": force,
    }
    listed = read_cases(cases)
    checks.refuse_bad_folder(output)
    due = [case for case in listed if not (resume and output_path(output, case).is_file())]
    summary = output / "summary.csv"
    checks.refuse_bad_cases(due, cases, output, summary)
    with interrupts_held():
        import torch  # noqa: F401
    # Which devices there are is known to a cluster's workers only.
    judged = settings | {"device": "cpu"} if cluster else settings
    checks.refuse_bad_settings(judged)
    refuse_bad_case_settings(listed, cases, judged)
    output.mkdir(exist_ok=True)
    so_far: list[Outcome] = []
    with progress_bar(quiet) as progress:

        def report(outcome: Outcome) -> None:
            so_far.append(outcome)
            # After each case, so that a killed run leaves an account of what is done.
            write_text(summary, summary_text(so_far))
            progress(len(so_far), len(listed), "Fusing cases")

        if cluster:
            outcomes = _run_on_cluster(listed, output, settings, resume, report, cluster, quiet)
        else:
            outcomes = run_cases(listed, output, settings, resume, report, progress)
    failed = [outcome for outcome in outcomes if outcome.status == FAILED]
    for outcome in failed:
        say(f"{outcome.case}: {outcome.error}")
    say(f"{len(outcomes) - len(failed)} of {len(outcomes)} cases are in {output}.", quiet)
    if failed:
        raise typer.Exit(SOME_FAILED)


def _run_on_cluster(
    cases: list[Case],
    folder: Path,
    settings: dict[str, Any],
    resume: bool,
    report: Callable[[Outcome], None],
    cluster: str,
    quiet: bool,
) -> list[Outcome]:
    from MedFusionLib.batch.cluster import cluster_client, run_cases_on

    with cluster_client(cluster) as client:
        say(f"Dashboard: {client.dashboard_link}", quiet)
        return run_cases_on(client, cases, folder, settings, resume, report)
