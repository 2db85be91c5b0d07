"""The whole way of `medfusion evaluate --downstream`: read, fuse, predict, tabulate."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MedFusionLib.computing.device import Device
from MedFusionLib.errors import InputError
from MedFusionLib.evaluation.downstream import folds
from MedFusionLib.evaluation.downstream.cohort import Cohort
from MedFusionLib.evaluation.downstream.features import slice_features
from MedFusionLib.evaluation.downstream.heads import linear_head, majority
from MedFusionLib.evaluation.grey_images import grey
from MedFusionLib.evaluation.pairs import Pair
from MedFusionLib.evaluation.scoring import Progress, fused_grey, read_sources
from MedFusionLib.methods import create_method

PERMUTATIONS = 99
ALL_SETS = "all sets"
LINEAR, TFORMER, NONE = "linear", "TFormer", "–"
MAJORITY, SET_ALONE, BOTH = "majority", "set alone", "both"
METADATA_ALONE, WITH_METADATA = "metadata alone", "both, metadata"
SOURCES = ("reference", "other")

Key = tuple[str, str]
Images = dict[str, dict[Key, np.ndarray]]
"""reference, other or a method, to pair, to the grey slice (H, W), uint8."""


@dataclass(frozen=True)
class Entry:
    """One row before it is measured: what is looked at, and by which head."""

    name: str
    head: str
    predict: folds.Predict
    permutations: int = PERMUTATIONS
    repeats: int = folds.REPEATS


def run_study(
    cohort: Cohort, methods: Sequence[str], epochs: int, device: Device, precision: str,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """Values of downstream.json: a table for each set and one of all sets together.

    ``epochs``: of TFormer in each fold; 0 leaves it out. Raises `InputError` where no set, nor all
    together, has two classes with two patients each.
    """
    groups = {name: cohort.of_set(name) for name in {pair.set_name: 0 for pair in cohort.pairs}}
    if len(groups) > 1:
        groups[ALL_SETS] = cohort
    _refuse_untestable(groups.values())
    weights: dict[str, str | None] = {}
    images = _images(cohort.pairs, methods, weights, device, precision, progress)
    features = {
        name: {key: slice_features(image) for key, image in of_pairs.items()}
        for name, of_pairs in images.items()
    }
    tables = [
        _table(title, group, images, features, epochs, progress) for title, group in groups.items()
    ]
    return {
        "weights_sha256": weights,
        "seed": folds.SEED,
        "repeats": folds.REPEATS,
        "permutations": PERMUTATIONS,
        "tformer_epochs": epochs,
        "diagnoses": [
            {"diagnosis": name, "patients": list(patients), "class": found}
            for name, patients, found in cohort.diagnoses
        ],
        "tables": tables,
    }


def _refuse_untestable(groups: Iterable[Cohort]) -> None:
    if not any(_classes(group.testable()) for group in groups):
        raise InputError(
            "Nothing can be tested: no set has two classes with two patients each, one to learn "
            "from and one to leave out. Add patients, or take all splits (--split all)."
        )


def _classes(cohort: Cohort) -> list[str]:
    """Names of the classes that can be told apart; none where there is only one."""
    names = [name for name, patients in cohort.patients().items() if patients]
    return names if len(names) > 1 else []


def _images(
    pairs: Sequence[Pair], methods: Sequence[str], weights: dict[str, str | None], device: Device,
    precision: str, progress: Progress,
) -> Images:  # fmt: skip
    sources = [read_sources(pair) for pair in pairs]
    images: Images = {
        "reference": {one.pair.key: grey(one.reference) for one in sources},
        "other": {one.pair.key: grey(one.other) for one in sources},
    }
    for name in methods:
        method = create_method(name, device.device)
        weights[name] = getattr(method, "weights_sha256", None)
        images[name] = {}
        for number, one in enumerate(sources):
            images[name][one.pair.key] = fused_grey(method, one, device.device, precision)
            progress(number + 1, len(sources), f"Fusing by {name}")
    return images


def _table(
    title: str, cohort: Cohort, images: Images, features: Images, epochs: int, progress: Progress
) -> dict[str, Any]:
    tested = cohort.testable()
    names = _classes(tested)
    rows: list[dict[str, Any]] = []
    table = {
        "title": title,
        "classes": {name: list(group) for name, group in cohort.patients().items()},
        "tested": names,
        "slices": len(tested.pairs) if names else 0,
        "assignments": 0,
        "rows": rows,
    }
    if not names:
        return table
    slices = slices_of(tested, names)
    counts = np.bincount(slices.classes)
    table["assignments"] = math.factorial(len(slices.classes)) // math.prod(
        math.factorial(int(count)) for count in counts
    )
    entries = list(_entries(tested, images, features, len(names), epochs))
    hits, chances = {}, {}
    for number, entry in enumerate(entries):
        key = entry.name, entry.head
        hits[key], chances[key], row = _measured(entry, slices)
        rows.append(row)
        progress(number + 1, len(entries), f"Predicting in {title}")
    _compare(rows, hits, slices)
    _correct(rows, {key: chance for key, chance in chances.items() if key[0] in _fused(images)})
    for row in rows:
        mean = hits[row["input"], row["head"]]
        row["per_class"] = {
            name: float(mean[slices.classes == number].mean()) for number, name in enumerate(names)
        }
        row["per_patient"] = dict(zip(_patients(tested), map(float, mean), strict=True))
    return table


def _patients(cohort: Cohort) -> list[str]:
    return list(dict.fromkeys(pair.patient for pair in cohort.pairs))


def slices_of(cohort: Cohort, names: Sequence[str]) -> folds.Slices:
    """The cohort's slices by number of patient; a patient of several sets has one number."""
    patients = _patients(cohort)
    return folds.Slices(
        np.array([patients.index(pair.patient) for pair in cohort.pairs]),
        np.array([names.index(cohort.classes[patient]) for patient in patients]),
    )


def _entries(
    cohort: Cohort, images: Images, features: Images, classes: int, epochs: int
) -> Iterator[Entry]:
    keys = [pair.key for pair in cohort.pairs]
    found = {name: np.stack([of[key] for key in keys]) for name, of in features.items()}
    yield Entry(MAJORITY, NONE, majority)
    sets = list(dict.fromkeys(pair.set_name for pair in cohort.pairs))
    if len(sets) > 1:
        which = np.array([[pair.set_name == name for name in sets] for pair in cohort.pairs])
        yield Entry(SET_ALONE, LINEAR, linear_head(which.astype(float)))
    known = np.stack([cohort.metadata[key] for key in keys]) if cohort.metadata else None
    if known is not None:
        yield Entry(METADATA_ALONE, LINEAR, linear_head(known))
    for name in SOURCES:
        yield Entry(name, LINEAR, linear_head(found[name]))
    both = np.concatenate([found[name] for name in SOURCES], axis=1)
    yield Entry(BOTH, LINEAR, linear_head(both))
    if epochs:
        from MedFusionLib.evaluation.downstream.tformer.training import tformer_head

        stacks = [_stack(images[name], keys) for name in SOURCES]
        yield Entry(BOTH, TFORMER, tformer_head(stacks[0], stacks[1], classes, epochs), 0, 1)
        if known is not None:
            head = tformer_head(stacks[0], stacks[1], classes, epochs, known)
            yield Entry(WITH_METADATA, TFORMER, head, 0, 1)
    for name in _fused(images):
        yield Entry(name, LINEAR, linear_head(found[name]))


def _stack(images: Mapping[Key, np.ndarray], keys: Sequence[Key]) -> np.ndarray:
    """(slices, side, side), each slice by area: the table's slices may be of several sizes."""
    import torch
    from torch.nn import functional

    side = 256
    shown = [
        functional.interpolate(
            torch.from_numpy(images[key].astype(np.float32))[None, None], side, mode="area"
        )
        for key in keys
    ]
    return torch.cat(shown)[:, 0].numpy()


def _fused(images: Images) -> list[str]:
    return [name for name in images if name not in SOURCES]


def _measured(entry: Entry, slices: folds.Slices) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Hits of each patient, accuracies by chance, and the row."""
    started = time.process_time()
    hits = folds.patient_hits(slices, entry.predict, entry.repeats)
    seconds = time.process_time() - started
    accuracy = folds.balanced_accuracy(hits, slices.classes)
    low, high = folds.interval(hits, slices.classes)
    chance = folds.by_chance(slices, entry.predict, entry.permutations)
    row = {
        "input": entry.name,
        "head": entry.head,
        "balanced_accuracy": accuracy,
        "low": low,
        "high": high,
        "chance_mean": float(chance.mean()) if len(chance) else None,
        "chance_high": float(np.percentile(chance, 95)) if len(chance) else None,
        "p": folds.share_as_good(chance, accuracy) if len(chance) else None,
        "cpu_seconds": seconds,
    }
    return hits, chance, row


def _correct(rows: list[dict[str, Any]], chances: Mapping[tuple[str, str], np.ndarray]) -> None:
    """Beside p of each fusion, the share of deals in which the best of the fusions does as well.

    ``chances``: of the fusions alone; all rows saw the same deals. Westfall and Young,
    Resampling-based multiple testing, 1993.
    """
    for row in rows:
        fusion = (row["input"], row["head"]) in chances
        best = np.max(list(chances.values()), axis=0) if fusion else None
        accuracy = row["balanced_accuracy"]
        row["p_best"] = None if best is None else folds.share_as_good(best, accuracy)


def _compare(
    rows: list[dict[str, Any]], hits: Mapping[tuple[str, str], np.ndarray], slices: folds.Slices
) -> None:
    """Beside each row the difference to both sources by the linear head, patient by patient."""
    base = hits[BOTH, LINEAR]
    for row in rows:
        change = hits[row["input"], row["head"]] - base
        low, high = folds.interval(change, slices.classes)
        row["minus_both"] = folds.balanced_accuracy(change, slices.classes)
        row["minus_both_low"], row["minus_both_high"] = low, high
