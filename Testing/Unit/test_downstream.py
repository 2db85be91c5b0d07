"""A class of disease predicted with whole patients left out: against made data of known truth."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from MedFusionLib.errors import InputError
from MedFusionLib.evaluation.downstream import folds
from MedFusionLib.evaluation.downstream.cohort import read_cohort
from MedFusionLib.evaluation.downstream.diagnoses import class_of
from MedFusionLib.evaluation.downstream.features import slice_features
from MedFusionLib.evaluation.downstream.heads import linear_head, majority
from MedFusionLib.evaluation.downstream.study import slices_of
from MedFusionLib.evaluation.downstream.tformer.architecture import compact
from MedFusionLib.evaluation.downstream.tformer.network import TFormer
from MedFusionLib.evaluation.downstream.tformer.training import tformer_head
from MedFusionLib.evaluation.pairs import read_pairs

COLUMNS = ("pair_id", "set", "patient", "diagnosis", "split", "plane", "mri", "other")


@pytest.fixture
def one_thread():
    """Steps of a small network are shorter than what two threads on a busy machine wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made_slices(patients_of_classes: tuple[int, ...], per_patient: int = 4) -> folds.Slices:
    classes = np.repeat(np.arange(len(patients_of_classes)), patients_of_classes)
    return folds.Slices(np.repeat(np.arange(len(classes)), per_patient), classes)


def noise(slices: folds.Slices, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(slices.patients), 6))


def test_classes_that_differ_are_told_apart_and_never_so_well_by_chance():
    slices = made_slices((4, 5, 6))
    features = noise(slices)
    features[:, :3] += 30 * np.eye(3)[slices.classes[slices.patients]]
    head = linear_head(features)
    hits = folds.patient_hits(slices, head)
    assert folds.balanced_accuracy(hits, slices.classes) == 1
    assert folds.interval(hits, slices.classes) == (1, 1)
    assert folds.by_chance(slices, head, 8).max() < 1


def test_noise_is_found_as_often_as_a_guess_over_many_draws():
    slices = made_slices((4, 4), 3)
    found = [
        folds.balanced_accuracy(
            folds.patient_hits(slices, linear_head(noise(slices, seed)), 1), slices.classes
        )
        for seed in range(60)
    ]
    error = np.std(found) / len(found) ** 0.5
    assert abs(np.mean(found) - 0.5) < 3 * error


def test_what_marks_a_patient_but_no_class_helps_nobody_who_is_left_out():
    """Slices of one patient are nearly the same: with one of them in both parts it would be 1."""
    found = []
    for seed in range(40):
        slices = made_slices((4, 4), 6)
        own = np.random.default_rng(seed).normal(size=(8, 40))
        features = own[slices.patients] + 1e-3 * np.random.default_rng(seed + 999).normal(
            size=(48, 40)
        )
        hits = folds.patient_hits(slices, linear_head(features), 1)
        found.append(folds.balanced_accuracy(hits, slices.classes))
    assert abs(np.mean(found) - 0.5) < 3 * np.std(found) / len(found) ** 0.5


def test_no_patient_stands_on_both_sides_and_each_is_left_out_once_in_each_deal():
    slices = made_slices((3, 5, 7))
    seen: list[tuple[set[int], set[int]]] = []
    weights: list[np.ndarray] = []

    def watching(train, classes, weight, test):
        seen.append((set(slices.patients[train]), set(slices.patients[test])))
        weights.append(
            np.array([weight[classes == number].sum() for number in range(3)]) / weight.sum()
        )
        return majority(train, classes, weight, test)

    folds.patient_hits(slices, watching, repeats=2)
    assert len(seen) == 2 * 3
    for learned, left_out in seen:
        assert not learned & left_out
        assert learned | left_out == set(range(15))
        assert {slices.classes[patient] for patient in left_out} == {0, 1, 2}
    assert sorted(patient for _, left_out in seen[:3] for patient in left_out) == list(range(15))
    for shares in weights:
        np.testing.assert_allclose(shares, 1 / 3)


def test_balanced_accuracy_is_that_of_scikit_learn_where_patients_have_as_many_slices():
    slices = made_slices((2, 3, 4), 5)
    truth = slices.classes[slices.patients]
    found = np.random.default_rng(3).integers(3, size=len(truth))
    hits = np.array([np.mean((found == truth)[slices.patients == who]) for who in range(9)])
    expected = balanced_accuracy_score(truth, found)
    assert folds.balanced_accuracy(hits, slices.classes) == pytest.approx(expected)


def test_p_counts_the_true_deal_among_those_that_do_as_well():
    chance = np.array([0.2, 0.5, 0.9])
    found = [folds.share_as_good(chance, accuracy) for accuracy in (0.1, 0.5, 0.6, 1.0)]
    assert found == [1, 3 / 4, 2 / 4, 1 / 4]


def test_heads_of_one_table_see_the_same_deals():
    """So that the best of them in a deal is one of that deal, and no other one's."""
    slices, dealt = made_slices((3, 3)), ([], [])
    for seen in dealt:

        def watching(train, classes, weights, test, seen=seen):
            seen.append(classes)
            return majority(train, classes, weights, test)

        folds.by_chance(slices, watching, 4)
    for one, another in zip(*dealt, strict=True):
        np.testing.assert_array_equal(one, another)


def test_the_majority_reaches_one_part_of_the_classes():
    slices = made_slices((3, 6))
    hits = folds.patient_hits(slices, majority)
    assert folds.balanced_accuracy(hits, slices.classes) == 0.5


@pytest.mark.parametrize(
    ("diagnosis", "expected"),
    [
        ("Acute_stroke_1", "vascular"),
        ("Vascular_dementia", "vascular"),
        ("Glioma_2 (FDG-PET)", "tumour"),
        ("Motor_neuron", "degenerative"),
        ("Normal brain", "normal"),
        ("abnormal finding", None),
        ("Herpes_encephalitis", None),
        ("unlabelled (no movie match)", None),
        ("Glioma and stroke", None),
    ],
)
def test_a_diagnosis_falls_into_the_class_of_its_words_or_into_none(diagnosis, expected):
    assert class_of(diagnosis) == expected


def test_features_are_the_means_of_the_cells_and_know_a_mirrored_slice_by_the_means_alone():
    image = np.random.default_rng(1).integers(0, 256, size=(64, 64)).astype(np.uint8)
    found, mirrored = slice_features(image), slice_features(np.ascontiguousarray(image[:, ::-1]))
    cells = image.reshape(8, 8, 8, 8) / 255
    np.testing.assert_allclose(found[:64], cells.mean(axis=(1, 3)).ravel(), atol=1e-5)
    np.testing.assert_allclose(found[64:128], cells.std(axis=(1, 3)).ravel(), atol=1e-3)
    np.testing.assert_allclose(found[128:], mirrored[128:], atol=1e-5)
    assert found[160:].sum() == pytest.approx(1)


def table_of(folder: Path, rows: list[tuple[str, ...]]) -> Path:
    path = folder / "pairs.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path


def test_a_cohort_keeps_axial_pairs_of_known_classes_and_says_what_it_left_out(tmp_path):
    rows = [
        *[(str(n), "CT-MRI", "a", "Stroke", "dev", "axial", "m", "o") for n in range(9)],
        *[(str(n), "PET-MRI", "a", "Stroke", "dev", "axial", "m", "o") for n in range(2)],
        ("20", "CT-MRI", "b", "Glioma", "train", "coronal", "m", "o"),
        ("21", "CT-MRI", "b", "Glioma", "train", "", "m", "o"),
        ("22", "CT-MRI", "c", "Herpes", "train", "axial", "m", "o"),
    ]
    manifest = table_of(tmp_path, rows)
    cohort = read_cohort(manifest, read_pairs(manifest, "all"), 3)
    assert [pair.pair_id for pair in cohort.pairs] == ["1", "4", "7", "0", "1", "21"]
    assert cohort.patients()["vascular"] == ("a",) and cohort.patients()["tumour"] == ("b",)
    assert ("Herpes", ("c",), None) in cohort.diagnoses
    assert cohort.testable().pairs == ()
    # CT and PET of one patient are left out together.
    assert slices_of(cohort, ["vascular", "tumour"]).patients.tolist() == [0, 0, 0, 0, 0, 1]


def test_a_patient_of_two_classes_is_refused(tmp_path):
    rows = [
        ("1", "CT-MRI", "a", "Stroke", "dev", "axial", "m", "o"),
        ("2", "PET-MRI", "a", "Glioma", "dev", "axial", "m", "o"),
    ]
    manifest = table_of(tmp_path, rows)
    with pytest.raises(InputError, match="'a' has diagnoses of two classes"):
        read_cohort(manifest, read_pairs(manifest, "all"), None)


def test_compact_tformer_learns_what_both_sources_show_together(one_thread):
    """The class is whether both bright halves are on one side: neither source tells it alone."""
    generator = np.random.default_rng(5)
    side = generator.integers(2, size=(2, 40))
    stacks = generator.integers(0, 30, size=(2, 40, 32, 32)).astype(np.uint8)
    for source in range(2):
        for number in range(40):
            half = slice(0, 16) if side[source, number] else slice(16, 32)
            stacks[source, number, :, half] += 200
    labels = (side[0] == side[1]).astype(int)
    train, test = np.arange(28), np.arange(28, 40)
    predict = tformer_head(stacks[0], stacks[1], 2, 20)
    state = torch.get_rng_state()
    found = predict(train, labels[train], np.ones(28), test)
    assert np.mean(found == labels[test]) == 1
    assert torch.equal(state, torch.get_rng_state())
    brief = tformer_head(stacks[0], stacks[1], 2, 1)
    once, again = (brief(train, labels[train], np.ones(28), test) for _ in range(2))
    np.testing.assert_array_equal(once, again)


@torch.no_grad()
def test_compact_tformer_answers_each_pair_alike_in_any_batch():
    torch.manual_seed(0)
    network = TFormer(compact(3)).eval()
    assert sum(weight.numel() for weight in network.parameters()) < 3_000_000
    pairs = torch.rand(2, 4, 1, 64, 64)
    (together,) = network(*pairs)
    (alone,) = network(*pairs[:, 2:3])
    assert together.shape == (4, 3)
    torch.testing.assert_close(together[2:3], alone, atol=1e-5, rtol=1e-4)
