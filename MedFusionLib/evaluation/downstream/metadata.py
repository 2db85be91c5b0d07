"""What a table tells of a patient beside the images, such as age and sex, as numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.evaluation.downstream.diagnoses import class_of

OF_THE_TABLE = (
    *("pair_id", "set", "patient", "diagnosis", "slice", "plane", "split", "mri", "other", "note"),
)
"""Columns that tell what is asked, or which pair and set it is: none of them is metadata."""
MOST_WORDS = 10
"""Different ones in a column of words."""

Row = Mapping[str, str]


def metadata_numbers(rows: Sequence[Row], columns: Sequence[str]) -> np.ndarray:
    """(rows, M) float64: a column of numbers as it is, one of words as 0 and 1 for each word.

    Nothing is scaled here: that must be learned within a fold. Raises `InputError` for columns
    that the table lacks, that are not filled, or that tell the answer.
    """
    parts = [_numbers(rows, column) for column in columns]
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(rows), 0))


def _numbers(rows: Sequence[Row], column: str) -> np.ndarray:
    _refuse_unfit(rows, column)
    values = [row[column].strip() for row in rows]
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        words = sorted(set(values))
        if len(words) > MOST_WORDS:
            raise InputError(
                f"The column '{column}' holds neither numbers alone nor few words (it has "
                f"{len(words)} different ones, and up to {MOST_WORDS} can be used)."
            ) from None
        return np.array([[value == word for word in words] for value in values], float)
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"The column '{column}' holds numbers that are not finite. Correct it.")
    return np.array(numbers)[:, None]


def _refuse_unfit(rows: Sequence[Row], column: str) -> None:
    if column.lower() in OF_THE_TABLE:
        raise InputError(
            f"The column '{column}' is no metadata: it tells what is asked, or which pair or set "
            "it is, and a head would learn that. Name others, such as age or sex."
        )
    if column not in rows[0]:
        raise InputError(
            f"The table has no column '{column}'. It has: {', '.join(rows[0])}. Leave '{column}' "
            "out of --metadata, or add it to the table."
        )
    if empty := [row["pair_id"] for row in rows if not row[column].strip()]:
        raise InputError(
            f"The column '{column}' is empty for {len(empty)} pairs (the first is '{empty[0]}'). "
            "Fill it in, or leave the column out."
        )
    if any(class_of(row[column]) for row in rows):
        raise InputError(
            f"The column '{column}' names diseases: a head would read the answer there. Leave it "
            "out."
        )
    sets, values = ([row[name] for row in rows] for name in ("set", column))
    if len(set(sets)) > 1 and same_parts(sets, values):
        raise InputError(
            f"The column '{column}' tells in which set a pair is, and with it the scanner, which "
            "tells something of the disease. Leave it out, or take one set (--sets)."
        )


def same_parts(one: Sequence[str], another: Sequence[str]) -> bool:
    """Whether two columns name the same parts of the rows, by whatever names."""
    return len(set(zip(one, another, strict=True))) == len(set(one)) == len(set(another))
