"""``medfusion benchmark``: how fast each method is here, and how much memory it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from MedFusionLib.commands.common import Progress, progress_bar, say
from MedFusionLib.errors import InputError
from MedFusionLib.methods import method_card, slice_method_names
from MedFusionLib.outputs import refuse_unwritable_file, write_text

if TYPE_CHECKING:
    from rich.console import Console


def benchmark_command(
    methods: str = typer.Option("all", help="Methods, with commas between, or all."),
    sizes: str = typer.Option("256x256", help="Slice sizes, with commas between."),
    batch: str = typer.Option("1", help="Slices per batch, with commas between."),
    devices: str = typer.Option("auto", help="Devices, with commas between: cpu, cuda:0, …"),
    precisions: str = typer.Option("auto", help="float32, bfloat16, float16 with commas, or auto."),
    repeats: int = typer.Option(5, min=1, help="Timings of each setting, after a warm-up."),
    against: str | None = typer.Option(
        None, help="A second command to time in turn with the first method, as whole processes."
    ),
    paper: bool = typer.Option(
        False, help="Also the paper presets, with random weights, against their plain form."
    ),
    volume: str = typer.Option("", help="Also whole volumes of this size, as 512x512x300."),
    startup: bool = typer.Option(False, help="Also how long importing and starting take."),
    cluster: bool = typer.Option(False, help="Also a batch on Dask against one without."),
    json_file: Path | None = typer.Option(None, "--json", help="Write the figures here as JSON."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print errors only."),
) -> None:
    """Measure slices per second, memory and arithmetic of the methods on this machine."""
    from MedFusionLib.computing.device import choose_device, choose_precision
    from MedFusionLib.evaluation.speed.benchmark import (
        all_settings,
        parse_size,
        run_against,
        run_benchmark,
    )
    from MedFusionLib.evaluation.speed.volumes import parse_shape

    if json_file is not None:
        refuse_unwritable_file(json_file)
    for device in _listed(devices):
        for precision in _listed(precisions):
            choose_precision(precision, choose_device(device).device)
    shape = parse_shape(volume) if volume else None
    names = list(slice_method_names()) if methods == "all" else _listed(methods)
    settings = all_settings(
        [method_card(name).name for name in names],
        [parse_size(size) for size in _listed(sizes)],
        [_count(number) for number in _listed(batch)],
        _listed(devices),
        _listed(precisions),
        repeats,
    )
    with progress_bar(quiet) as progress:
        figures = run_benchmark(settings, progress)
        figures |= _more(names, shape, _listed(devices)[0], paper, startup, cluster, progress)
    if against is not None:
        figures["against"] = run_against(against, settings[0])
    if not quiet:
        _print(figures)
    if json_file is not None:
        write_text(json_file, json.dumps(figures, indent=1) + "\n")
        say(f"Wrote {json_file}.", quiet)


def _more(
    names: list[str],
    shape: tuple[int, int, int] | None,
    device: str,
    paper: bool,
    startup: bool,
    cluster: bool,
    progress: Progress,
) -> dict[str, Any]:
    """What was asked for beside the table of methods."""
    from MedFusionLib.evaluation.speed.forms import run_forms
    from MedFusionLib.evaluation.speed.processes import run_cluster, run_startup
    from MedFusionLib.evaluation.speed.volumes import run_volumes

    figures: dict[str, Any] = {}
    if paper:
        figures["paper"] = run_forms(progress)
    if shape is not None:
        figures["volumes"] = run_volumes(names, shape, device, progress)
    if startup:
        figures["startup"] = run_startup(progress)
    if cluster:
        figures["cluster"] = run_cluster(progress)
    return figures


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"'{text}' is no batch size. Give a whole number of at least 1.")
    return int(text)


def _print(figures: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    machine, console = figures["machine"], Console()
    console.print(f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}")
    table = Table("method", "setting", "slices/s", "s/volume", "MiB", "GFLOP", "of peak")
    for run in figures["runs"]:
        table.add_row(*_cells(run))
    console.print(table)
    _print_more(figures, console)
    if "against" in figures:
        other = figures["against"]
        console.print(
            f"Whole processes in turn: '{other['command']}' takes {other['ratio']:.2f} times as "
            f"long as {other['setting']['method']}."
        )


def _print_more(figures: dict[str, Any], console: Console) -> None:
    """The other measures, in the tables of the results page."""
    from rich.table import Table

    from MedFusionLib.evaluation.speed.page import more_tables

    for heading, note, headings, rows in more_tables(figures):
        table = Table(*headings, title=heading, caption=note)
        for row in rows:
            table.add_row(*row)
        console.print(table)


def _cells(run: dict[str, Any]) -> list[str]:
    low, high = run["seconds_per_slice_quartiles"]
    size = f"{run['height']}x{run['width']}, batch {run['batch']}"
    return [
        run["method"],
        f"{size}\n{run['device']} {run['precision']}",
        f"{_speed(run['slices_per_second'])}\n{_speed(1 / high)}..{_speed(1 / low)}",
        *_known(run, ("seconds_per_volume", 1, ".3g"), ("peak_bytes", 2**20, ".0f")),
        *_known(run, ("flop_per_slice", 1e9, ".3g"), ("share_of_matrix_speed", 1, ".1%")),
    ]


def _speed(slices_per_second: float) -> str:
    return f"{slices_per_second:.3g}" if slices_per_second < 1000 else f"{slices_per_second:.0f}"


def _known(run: dict[str, Any], *columns: tuple[str, float, str]) -> list[str]:
    """Values in their unit and form, with a dash for one that was not measured."""
    return [
        "–" if run[name] is None else format(run[name] / unit, form) for name, unit, form in columns
    ]
