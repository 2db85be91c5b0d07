"""The scores of a fused volume that lies in a file, against its two sources."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from MedFusionLib.errors import GeometryError
from MedFusionLib.evaluation.legibility.volume_judge import picture_measures
from MedFusionLib.evaluation.reports.fusion_page import scores_page
from MedFusionLib.evaluation.reports.fusion_report import default_settings, score_fusion
from MedFusionLib.outputs import together, write_text
from MedFusionLib.registration.overlap import resample
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.volume import Volume, same_grid


def score_files(
    reference: Path,
    other: Path,
    fused: Path,
    windows: tuple[str, str],
    plane: str,
    geometry: str | None = None,
) -> dict[str, Any]:
    """Scores of a fused volume (see `score_fusion`) and the names of the three files.

    The fused volume must lie on the reference's grid; the other is resampled to it by position.
    ``geometry`` is that of ``read_volume``.
    Raises: GeometryError if it does not, InputError for a file that is no volume.
    """
    volumes = _read(reference, other, fused, geometry)
    settings = default_settings(*volumes, windows, plane)
    scores = score_fusion(volumes[0], resample(volumes[1], volumes[0]), volumes[2], settings)
    return {
        **settings,
        "reference": {"path": str(reference), **settings["reference"]},
        "other": {"path": str(other), **settings["other"]},
        "fused": {"path": str(fused)},
        "metrics": scores,
    }


def judge_files(
    reference: Path,
    other: Path,
    fused: Path,
    windows: tuple[str, str],
    geometry: str | None = None,
) -> dict[str, float | None]:
    """What a reader sees in a fused volume: bone, uptake, edges, and what is hidden.

    As JSON values. No lesions can be put into a volume that is fused already. Raises as
    `score_files` does.
    """
    volumes = _read(reference, other, fused, geometry)
    settings = default_settings(*volumes, windows, "axial")
    aligned = resample(volumes[1], volumes[0])
    found = picture_measures(volumes[0], [aligned], volumes[2], settings)
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _read(
    reference: Path, other: Path, fused: Path, geometry: str | None
) -> tuple[Volume, Volume, Volume]:
    volumes = (
        read_volume(reference, geometry=geometry),
        read_volume(other, geometry=geometry),
        read_volume(fused, geometry=geometry),
    )
    if not same_grid(volumes[0], volumes[2]):
        raise GeometryError(
            f"'{fused}' does not lie on the grid of '{reference}'. Name the reference that it was "
            "fused with."
        )
    return volumes


def write_scores(report: dict[str, Any], folder: Path) -> None:
    """Write scores.json and report.html into a folder, which is made if need be."""
    with together() as outputs:
        partial = outputs.files_into(folder)
        write_text(partial / "scores.json", json.dumps(report, indent=2) + "\n")
        write_text(partial / "report.html", scores_page(report))
