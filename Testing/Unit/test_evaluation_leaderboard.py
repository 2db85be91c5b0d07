"""Ranks, intervals and tables of the leader board, and what it reads."""

from __future__ import annotations

import csv
import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from PIL import Image

from MedFusionLib.errors import InputError
from MedFusionLib.evaluation import leaderboard, pairs, scoring
from MedFusionLib.evaluation.metrics import METRIC_CARDS
from MedFusionLib.methods import create_method


def scores(rows: dict[str, dict[str, list[float]]], source: str = "ours") -> pd.DataFrame:
    """Method -> patient -> one value per pair, taken for every metric."""
    return pd.DataFrame(
        {
            "set": "CT-MRI",
            "pair_id": f"{patient}-{number}",
            "patient": patient,
            "split": "dev",
            "method": method,
            "source": source,
            **dict.fromkeys(leaderboard.COLUMNS, value),
        }
        for method, patients in rows.items()
        for patient, values in patients.items()
        for number, value in enumerate(values)
    )


def test_mean_ranks_are_those_of_scipy_with_ties_shared():
    generator = np.random.default_rng(1)
    means = pd.DataFrame(
        generator.integers(0, 3, (5, len(METRIC_CARDS))).astype(float), columns=list(METRIC_CARDS)
    )
    signs = np.array([-1 if card.higher_is_better else 1 for card in METRIC_CARDS.values()])
    expected = scipy.stats.rankdata(means.to_numpy() * signs, axis=0).mean(axis=1)
    assert leaderboard.mean_ranks(means).to_numpy() == pytest.approx(expected)


def test_two_tied_methods_share_the_mean_of_their_ranks():
    means = pd.DataFrame(5.0, columns=list(METRIC_CARDS), index=["one", "two"])
    assert list(leaderboard.mean_ranks(means)) == [1.5, 1.5]


def test_the_interval_of_two_patients_reaches_from_one_patients_mean_to_the_others():
    # Of the draws of two patients, a quarter are the first twice and a quarter the second twice.
    low, high = leaderboard.bootstrap_intervals(scores({"m": {"a": [1, 3], "b": [10, 10, 16]}}))
    assert low.loc["m", "SD"] == pytest.approx(2)
    assert high.loc["m", "SD"] == pytest.approx(12)


def test_slices_of_one_patient_give_no_interval():
    low, _ = leaderboard.bootstrap_intervals(scores({"m": {"a": [1, 2, 3]}}))
    assert math.isnan(low.loc["m", "SD"])


def test_the_interval_of_many_patients_has_the_width_that_statistics_expects():
    values = np.random.default_rng(2).normal(50, 8, 200)
    low, high = leaderboard.bootstrap_intervals(
        scores({"m": {str(number): [value] for number, value in enumerate(values)}})
    )
    expected = 2 * 1.96 * values.std() / math.sqrt(len(values))
    assert high.loc["m", "SD"] - low.loc["m", "SD"] == pytest.approx(expected, rel=0.1)


def test_published_images_are_compared_with_ours_on_exactly_their_pairs():
    ours = scores({"maximum": {"a": [1, 2, 3], "b": [4]}})
    peer = scores({"peer": {"a": [7, 8]}}, source="published")
    whole, beside = leaderboard.make_tables(pd.concat([ours, peer]), "dev")
    assert list(whole.rows.index) == ["maximum"]
    assert len(whole.pair_ids) == 4
    assert beside.pair_ids == ("a-0", "a-1")
    assert beside.published == ("peer",)
    assert beside.rows.loc["maximum", "SD"] == pytest.approx(1.5)
    assert "2 pairs of 1 patient, split dev, definition set A" in beside.caption


def test_a_value_that_is_not_finite_is_null_in_json():
    table = leaderboard.make_table(scores({"m": {"a": [math.inf]}}), "CT-MRI", "CT-MRI", "dev")
    (row,) = leaderboard.tables_as_json([table])[0]["rows"]
    assert row["SD"] is None and row["method"] == "m"


def write_manifest(folder, rows):
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(pairs.PAIR_COLUMNS)
        writer.writerows(rows)
    return folder / "manifest.csv"


def test_a_split_is_read_with_paths_beside_the_table(tmp_path):
    table = write_manifest(
        tmp_path,
        [["1", "CT-MRI", "p1", "dev", "a.png", "b.png"], ["2", "CT-MRI", "p2", "train", "c", "d"]],
    )
    (pair,) = pairs.read_pairs(table, "dev")
    assert (pair.patient, pair.reference) == ("p1", tmp_path / "a.png")
    assert len(pairs.read_pairs(table, "all")) == 2
    with pytest.raises(InputError, match="dev, train, all"):
        pairs.read_pairs(table, "test")


def test_a_table_without_the_columns_is_refused_by_their_names(tmp_path):
    (tmp_path / "bad.csv").write_text("pair_id,set\n1,CT-MRI\n")
    with pytest.raises(InputError, match="patient, split, mri, other"):
        pairs.read_pairs(tmp_path / "bad.csv", "dev")


def test_folders_with_different_names_in_them_are_refused(tmp_path):
    for folder, name in (("mr", "1.png"), ("ct", "2.png")):
        (tmp_path / folder).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / folder / name)
    with pytest.raises(InputError, match="same names"):
        pairs.pairs_of_folders(tmp_path / "mr", tmp_path / "ct")


def test_an_image_of_sixteen_bits_is_refused(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "deep.png")
    from MedFusionLib.evaluation.grey_images import read_image

    with pytest.raises(InputError, match="8-bit"):
        read_image(tmp_path / "deep.png")


def made_pair() -> scoring.Sources:
    generator = np.random.default_rng(4)
    images = generator.integers(0, 256, (2, 50, 47), dtype=np.uint8)
    pair = pairs.Pair("1", "CT-MRI", "p", "dev", None, None)
    return scoring.Sources(pair, *images)


@pytest.mark.parametrize(("name", "rule"), [("maximum", np.maximum), ("average", None)])
def test_a_method_on_a_pair_gives_the_rounded_rule_on_eight_bits(name, rule):
    sources = made_pair()
    fused = scoring.fused_grey(create_method(name), sources, torch.device("cpu"), "float32")
    if rule is None:
        expected = np.rint((sources.reference.astype(int) + sources.other) / 2)
    else:
        expected = rule(sources.reference, sources.other)
    assert np.array_equal(fused, expected)


def test_scores_of_a_pair_carry_every_column_of_the_tables():
    sources = made_pair()
    fused = np.maximum(sources.reference, sources.other)
    values = scoring.score(fused, fused, sources)
    assert set(values) == set(leaderboard.COLUMNS)
    assert values["invented_edges"] == 0
    assert math.isnan(values["hue_error"])
