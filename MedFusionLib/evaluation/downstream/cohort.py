"""Who is in the study: axial pairs of patients whose diagnosis falls into a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.evaluation.downstream.diagnoses import CLASSES, class_of
from MedFusionLib.evaluation.downstream.metadata import metadata_numbers
from MedFusionLib.evaluation.pairs import Pair
from MedFusionLib.tables import read_rows

FEWEST_PATIENTS = 2
"""Of a class: one to learn from and one to be left out."""
AXIAL = "axial"


@dataclass(frozen=True)
class Cohort:
    """Pairs to study, the class of each patient, and what became of each diagnosis."""

    pairs: tuple[Pair, ...]
    classes: Mapping[str, str]
    """Patient to class."""
    diagnoses: tuple[tuple[str, tuple[str, ...], str | None], ...]
    """Diagnosis, its patients, its class or None."""
    metadata: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)
    """Pair to the numbers that the table tells of its patient; empty where none were asked for."""

    def of_set(self, name: str) -> Cohort:
        """The same of one set alone."""
        pairs = tuple(pair for pair in self.pairs if pair.set_name == name)
        return replace(self, pairs=pairs)

    def patients(self) -> dict[str, tuple[str, ...]]:
        """Each class with its patients who have pairs here."""
        here = dict.fromkeys(pair.patient for pair in self.pairs)
        return {name: tuple(p for p in here if self.classes[p] == name) for name in CLASSES}

    def testable(self) -> Cohort:
        """Without the patients whose class has too few to be tested."""
        enough = {p for group in self.patients().values() if len(group) >= FEWEST_PATIENTS
                  for p in group}  # fmt: skip
        pairs = tuple(pair for pair in self.pairs if pair.patient in enough)
        return replace(self, pairs=pairs)


def read_cohort(
    manifest: Path, pairs: Sequence[Pair], per_patient: int | None, columns: Sequence[str] = ()
) -> Cohort:
    """Up to so many axial pairs, evenly spaced, of each patient with a class and each set.

    The manifest has a column `diagnosis` and, where pairs of other planes are in it, `plane`.
    ``columns`` of metadata are read as numbers. Raises `InputError` without the first column, for a
    patient with two classes, and for metadata that cannot be used.
    """
    rows = {(row["set"], row["pair_id"]): row for row in read_rows(manifest, ("diagnosis",))}
    chosen = [pair for pair in pairs if rows[pair.key].get("plane", AXIAL) in ("", AXIAL)]
    named: dict[str, dict[str, None]] = {}
    classes: dict[str, str] = {}
    for pair in chosen:
        diagnosis = rows[pair.key]["diagnosis"]
        named.setdefault(diagnosis, {})[pair.patient] = None
        found = class_of(diagnosis)
        if found is not None and classes.setdefault(pair.patient, found) != found:
            raise InputError(
                f"The patient '{pair.patient}' has diagnoses of two classes, "
                f"{classes[pair.patient]} and {found}. Correct the table '{manifest}'."
            )
    kept = [pair for pair in chosen if class_of(rows[pair.key]["diagnosis"]) is not None]
    diagnoses = tuple((name, tuple(who), class_of(name)) for name, who in named.items())
    spread = tuple(_spread(kept, per_patient))
    cohort = Cohort(spread, classes, diagnoses)
    if not columns or not spread:
        return cohort
    numbers = metadata_numbers([rows[pair.key] for pair in spread], columns)
    keys = [pair.key for pair in spread]
    return replace(cohort, metadata=dict(zip(keys, numbers, strict=True)))


def _spread(pairs: Sequence[Pair], per_patient: int | None) -> list[Pair]:
    """Pairs in the middle of equal parts of each stack: its ends show little of the brain."""
    stacks: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        stacks.setdefault((pair.set_name, pair.patient), []).append(pair)
    chosen = []
    for stack in stacks.values():
        count = min(per_patient or len(stack), len(stack))
        chosen += [stack[int((place + 0.5) * len(stack) / count)] for place in range(count)]
    return chosen
