"""``medfusion demo``: the bundled sample pair, fused and pictured."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from MedFusionLib.commands.common import interrupts_held, progress_bar, say
from MedFusionLib.errors import InputError
from MedFusionLib.outputs import together

if TYPE_CHECKING:
    from MedFusionLib.slices.legend import Legend
    from MedFusionLib.volumes.volume import Volume


def demo_command(
    output: Path = typer.Option(Path("demo"), "--output", "-o", help="Folder for the results."),
    method: str = typer.Option("", help="Fusion method; see 'medfusion methods'."),
) -> None:
    """Fuse the bundled sample pair and picture it through Slicer's slice views."""
    started = time.perf_counter()
    with interrupts_held():
        import torch  # noqa: F401
    from MedFusionLib.fusion import fuse
    from MedFusionLib.methods import DEFAULT_METHOD
    from MedFusionLib.sample_data import OTHER, REFERENCE
    from MedFusionLib.slices.legend import legend_of
    from MedFusionLib.volumes.files import read_volume, write_volume

    reference = read_volume(REFERENCE, "MR")
    other = read_volume(OTHER, "PET")
    if output.is_file():
        raise InputError(f"'{output}' is a file. Name a folder for the results.")
    output.mkdir(parents=True, exist_ok=True)
    with progress_bar(quiet=False) as progress:
        result = fuse(
            reference,
            other,
            method=method or DEFAULT_METHOD,
            alignment="rigid",
            progress=progress,
        )
    fused, aligned = output / "fused.nrrd", output / "aligned_other.nrrd"
    volumes = {"reference": reference, "other": result.aligned_other, "fused": result.volume}
    with together() as outputs:
        write_volume(result.volume, outputs.file(fused))
        write_volume(result.aligned_other, outputs.file(aligned))
        pictured = [
            output / line.name if isinstance(line, Path) else line
            for line in _pictured(volumes, outputs.files_into(output), legend_of(result.report))
        ]

    say(f"Fused volume:   {fused}")
    say(f"Aligned other:  {aligned}")
    for line in pictured:
        say(f"Picture:        {line}")
    say(f"Time:           {time.perf_counter() - started:.1f} s")
    say(f"In Slicer: drag {fused.resolve()} onto the window, or File > Add Data.")


def _pictured(
    volumes: Mapping[str, Volume], folder: Path, legend: Legend | None
) -> Iterable[Path | str]:
    """Draw the volumes through Slicer's slice views, where the extra ``slicer`` is installed."""
    if find_spec("slicer") is None:
        return ["none. For pictures install the extra: pip install 'medfusion[slicer]'"]
    from MedFusionLib.slicer_app.views.slice_pictures import write_slice_pictures

    return write_slice_pictures(volumes, folder, legend)
