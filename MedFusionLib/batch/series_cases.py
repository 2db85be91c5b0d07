"""Cases whose volumes are DICOM series, named by their files as a database keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MedFusionLib.batch.cases import Progress
from MedFusionLib.errors import GeometryError, InputError


@dataclass(frozen=True)
class SeriesCase:
    """Two series to fuse. ``case`` names the output, as in a table of cases."""

    case: str
    reference: tuple[Path, ...]
    other: tuple[Path, ...]


def fuse_series(
    case: SeriesCase,
    output: Path,
    settings: Mapping[str, Any],
    progress: Progress | None = None,
    cancel: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Fuse one case and write its volume, whole or not at all; the fusion's report.

    ``settings`` go to ``fuse``. Nobody looks at a batch while it runs: volumes whose positions are
    trusted are looked at first (``quick_check`` in the report), and refused with a
    ``GeometryError`` where their heads lie apart.
    """
    from MedFusionLib.fusion import fuse
    from MedFusionLib.volumes.dicom_series import read_files
    from MedFusionLib.volumes.files import check_writable, write_volume
    from MedFusionLib.volumes.modality import with_modality

    check_writable(output)
    reference, other = (
        with_modality(read_files(files), None, "") for files in (case.reference, case.other)
    )
    looked = {}
    if settings.get("alignment") == "resample":
        looked = {"quick_check": _refuse_apart(reference, other, cancel)}
    result = fuse(reference, other, **settings, progress=progress, cancel=cancel)
    write_volume(result.volume, output)
    return result.report | looked


def _refuse_apart(reference: Any, other: Any, cancel: Callable[[], bool]) -> dict[str, Any] | None:
    """What a quick look at the heads has found; None for volumes without a head."""
    from MedFusionLib.registration.quick_check import APART, quick_check

    try:
        check = quick_check(reference, other, cancel=cancel)
    except InputError:
        return None
    if check.verdict == APART:
        raise GeometryError(
            f"{check.sentence} They have one frame of reference, so nothing was registered. Load "
            "them and look."
        )
    return check.to_report()
