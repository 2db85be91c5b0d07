"""What can be known to go wrong with a batch before its first case, which may run all night."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MedFusionLib.batch.cases import Case, output_path
from MedFusionLib.errors import InputError
from MedFusionLib.outputs import (
    refuse_collisions,
    refuse_unwritable_file,
    refuse_unwritable_folder,
)
from MedFusionLib.volumes.volume import Volume

SHOWN = 10
"""Faults that are told at once; the rest is counted."""


def refuse_bad_cases(cases: Sequence[Case], table: Path, folder: Path, summary: Path) -> None:
    """Raise ``InputError``, naming every fault, where a case cannot even begin or end.

    That is where an input is missing, a transform cannot be used, or an output could not be written
    or would lie on an input or on another output.
    """
    faults = [fault for case in cases for fault in _faults(case, output_path(folder, case))]
    if faults:
        more = f"\nand {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise InputError(
            f"{len(faults)} things are wrong with the cases of '{table}', and none was begun:\n"
            + "\n".join(faults[:SHOWN])
            + more
        )
    outputs: dict[str, Path | None] = {"The summary": summary}
    outputs |= {f"The output of the case {case.case}": output_path(folder, case) for case in cases}
    refuse_collisions(outputs, [table, *_inputs(cases)])


def refuse_bad_folder(folder: Path) -> None:
    """Raise ``InputError`` unless the folder of the outputs is there or can be made."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"'{folder}' is a file. Name a folder for the fused volumes.")
    refuse_unwritable_folder(folder if folder.is_dir() else folder.parent)


def _inputs(cases: Iterable[Case]) -> Iterator[Path | None]:
    for case in cases:
        yield from (case.reference, case.other, case.transform)
        for one in case.further:
            yield one.path
            yield one.alignment if isinstance(one.alignment, Path) else None


def _faults(case: Case, output: Path) -> Iterator[str]:
    from MedFusionLib.registration.overlap import read_transform

    for path in (case.reference, case.other, *(one.path for one in case.further)):
        if not path.exists():
            yield f"{case.case}: There is no file or folder '{path}'."
    try:
        for file in (case.transform, *(one.alignment for one in case.further)):
            if isinstance(file, Path):
                read_transform(file)
        if output.parent.is_dir():
            refuse_unwritable_file(output)
    except InputError as error:
        yield f"{case.case}: {error}"


def refuse_bad_settings(settings: Mapping[str, Any]) -> None:
    """Raise a ``MedFusionError`` for settings with which no case could be fused.

    They are tried on a volume of a few voxels, so that whatever reads a setting judges it; only
    whether a finer grid gains anything is for each case to say.
    """
    from MedFusionLib.fusion import ALIGNMENTS, fuse
    from MedFusionLib.refining.refine import refuse_unknown
    from MedFusionLib.volumes.modality import with_modality
    from MedFusionLib.volumes.nifti_geometry import refuse_unknown_form

    tried = dict(settings)
    alignment = tried.pop("alignment", "resample")
    if alignment not in ALIGNMENTS:
        raise InputError(
            f"There is no alignment '{alignment}'. Choose one of: {', '.join(ALIGNMENTS)}."
        )
    refuse_unknown_form(tried.pop("geometry", None))
    refuse_unknown(tried.pop("grid", "reference"), tried.pop("refinement", "interpolation"))
    modalities = tried.pop("modalities", (None, None))
    reference, other = (with_modality(_few_voxels(), modality, "") for modality in modalities)
    fuse(reference, other, **tried)


def _few_voxels() -> Volume:
    voxels = np.arange(2 * 32 * 32, dtype=np.float32).reshape(2, 32, 32)
    known = {"suv_factor": "1"}
    return Volume(voxels, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), metadata=known)
