"""Folds that leave whole patients out, and how well the left out ones are told apart."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

SEED = 20240601
REPEATS = 3
"""Times that the patients are dealt into folds anew."""
MOST_FOLDS = 10

Predict = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Classes of test slices, from: train slices, their classes, their weights, test slices; slices
are given by their places."""


@dataclass(frozen=True)
class Slices:
    """Which patient each slice is of, and which class each patient has, both as numbers."""

    patients: np.ndarray
    """(slices,) numbers of patients."""
    classes: np.ndarray
    """(patients,) numbers of classes, each with two patients or more."""

    def relabelled(self, generator: np.random.Generator) -> Slices:
        """The same slices with the classes dealt to the patients by chance."""
        return Slices(self.patients, generator.permutation(self.classes))


def patient_folds(
    classes: np.ndarray, repeats: int, seed: int = SEED
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers of patients to learn from and to leave out.

    Each fold leaves out about as many patients of each class, as many folds as the smallest class
    has patients: with one patient alone left out, the class that is left out would be the rarer
    one in what is learned from, and guessing would come out below chance.
    """
    from sklearn.model_selection import RepeatedStratifiedKFold

    count = min(MOST_FOLDS, int(np.unique(classes, return_counts=True)[1].min()))
    folds = RepeatedStratifiedKFold(n_splits=count, n_repeats=repeats, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes that are small; they are
        yield from folds.split(np.zeros(len(classes)), classes)


def patient_hits(slices: Slices, predict: Predict, repeats: int = REPEATS) -> np.ndarray:
    """(patients,) share of each patient's slices whose class was found when it was left out."""
    right = np.zeros(len(slices.classes))
    seen = np.zeros(len(slices.classes))
    of_slices = slices.classes[slices.patients]
    for learned, left_out in patient_folds(slices.classes, repeats):
        train, test = (np.flatnonzero(np.isin(slices.patients, who)) for who in (learned, left_out))
        found = predict(train, of_slices[train], slice_weights(slices, train), test)
        np.add.at(right, slices.patients[test], found == of_slices[test])
        np.add.at(seen, slices.patients[test], 1)
    return right / seen


def slice_weights(slices: Slices, train: np.ndarray) -> np.ndarray:
    """Weights with mean 1 that give each class, and in it each patient, the same share."""
    patients = slices.patients[train]
    per_patient = np.bincount(patients, minlength=len(slices.classes))
    present = np.flatnonzero(per_patient)
    per_class = np.bincount(slices.classes[present], minlength=slices.classes.max() + 1)
    weights = 1.0 / (per_patient[patients] * per_class[slices.classes[patients]])
    return weights / weights.mean()


def balanced_accuracy(hits: np.ndarray, classes: np.ndarray) -> float:
    """Mean over the classes of the mean over their patients."""
    return float(np.mean([hits[classes == number].mean() for number in np.unique(classes)]))


def interval(values: np.ndarray, classes: np.ndarray, draws: int = 2000) -> tuple[float, float]:
    """95 % percentile interval of the balanced mean, patients drawn anew within each class."""
    generator = np.random.default_rng(SEED)
    means = []
    for number in np.unique(classes):
        group = values[classes == number]
        means.append(group[generator.integers(len(group), size=(draws, len(group)))].mean(axis=1))
    low, high = np.percentile(np.mean(means, axis=0), (2.5, 97.5))
    return float(low), float(high)


def by_chance(slices: Slices, predict: Predict, permutations: int) -> np.ndarray:
    """(permutations,) balanced accuracies with the classes dealt to the patients by chance."""
    generator = np.random.default_rng(SEED)
    dealt = [slices.relabelled(generator) for _ in range(permutations)]
    return np.array([balanced_accuracy(patient_hits(one, predict), one.classes) for one in dealt])


def share_as_good(chance: np.ndarray, accuracy: float) -> float:
    """p: the share of deals by chance, the true one counted with them, that do as well."""
    return float((1 + np.sum(chance >= accuracy - 1e-12)) / (1 + len(chance)))
