"""Pairs of whole volumes for training: a list of files, each laid on its reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.registration.overlap import resample
from MedFusionLib.slices.intensity import choose_window
from MedFusionLib.slices.stack import slice_stack
from MedFusionLib.tables import read_rows
from MedFusionLib.training.data import COLUMNS, SlicePair
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.volume import Volume


def read_volume_pairs(folder: Path, table: Path, split: str) -> list[SlicePair]:
    """All pairs of a split of a table of files in ``folder``, as axial stacks uint8 (D, H, W).

    The table (CSV) has the columns of the slices' manifest; ``mri`` and ``other`` name volumes
    whose positions are trusted, and ``set`` begins with the other one's modality: "CT-MRI". Both
    are shown in the windows in which `fuse` shows them. Raises ``InputError`` if there is no such
    table, or none of its pairs is of that split.
    """
    if not table.is_file():
        raise InputError(f"There is no table {table}. Name the volume pairs with --pairs.")
    rows = [row for row in read_rows(table, COLUMNS) if row["split"] == split]
    if not rows:
        raise InputError(f"{table} lists no '{split}' pairs of volumes.")
    return [_pair(folder, row) for row in rows]


def _pair(folder: Path, row: dict[str, str]) -> SlicePair:
    reference = read_volume(folder / row["mri"], "MR")
    other = read_volume(folder / row["other"], row["set"].split("-")[0])
    laid = resample(other, reference)
    return SlicePair(
        row["pair_id"],
        row["set"],
        row["patient"],
        _shown(reference, reference),
        # The window is that of the volume as measured, as in a fusion.
        _shown(replace(laid, modality=other.modality), other),
    )


def _shown(volume: Volume, measured: Volume) -> np.ndarray:
    unit = choose_window(measured).to_unit(volume.voxels)
    stack = slice_stack(unit, volume.direction_matrix, "axial")
    return np.ascontiguousarray(np.rint(stack * 255).astype(np.uint8))
