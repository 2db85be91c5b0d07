"""Scores of a synthetic image: against closed forms, and beside copies of its inputs."""

from __future__ import annotations

import numpy as np
import pytest

from MedFusionLib.errors import InputError
from MedFusionLib.evaluation.synthesis_scores import (
    head_of,
    matched,
    score,
    score_error_map,
    scores_beside_copies,
)

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.uniform(0.2, 0.8, (40, 40))
HEAD = np.zeros((40, 40), bool)
HEAD[5:-5, 5:-5] = True


def test_psnr_and_nmse_of_a_constant_error_are_those_of_the_closed_form() -> None:
    image = TRUTH + 0.1
    image[~HEAD] = 0  # what lies outside the head does not count
    found = score(TRUTH, image, HEAD)
    assert found.psnr == pytest.approx(20)
    assert found.nmse == pytest.approx(0.01 * HEAD.sum() / np.sum(TRUTH[HEAD] ** 2))


def test_the_truth_itself_is_perfect() -> None:
    found = score(TRUTH, TRUTH.copy(), HEAD)
    assert (found.psnr, found.nmse) == (float("inf"), 0.0)
    assert found.ssim == pytest.approx(1)


def test_a_copy_with_the_same_order_of_values_is_matched_to_the_truth_either_way_round() -> None:
    for image in (TRUTH**3, 1 - TRUTH**2):
        assert np.abs(matched(image, TRUTH, HEAD) - TRUTH)[HEAD].max() < 1e-6


def test_a_synthetic_image_is_scored_beside_every_input() -> None:
    rows = scores_beside_copies(TRUTH, TRUTH + 0.05, {"T1": RANDOM.random(TRUTH.shape)}, HEAD)
    assert list(rows) == [
        "synthetic",
        "synthetic, histogram matched",
        "T1, histogram matched",
    ]
    assert rows["synthetic"].psnr > rows["T1, histogram matched"].psnr


def test_an_error_map_that_knows_the_error_is_the_best_possible_and_noise_tells_nothing() -> None:
    made = TRUTH + RANDOM.normal(0, 0.1, TRUTH.shape)
    error = np.abs(TRUTH - made)
    knows = score_error_map(TRUTH, made, 2 * error, HEAD)
    assert knows.rank_correlation == pytest.approx(1)
    assert knows.ratio == pytest.approx(2)
    assert knows.worst == pytest.approx(knows.best_possible)
    noise = score_error_map(TRUTH, made, RANDOM.random(TRUTH.shape), HEAD)
    assert abs(noise.rank_correlation) < 0.15
    assert noise.worst == pytest.approx(1, abs=0.25)


def test_the_head_holds_what_it_encloses() -> None:
    ring = np.zeros((1, 20, 20))
    ring[0, 4:16, 4:16] = 1
    ring[0, 8:12, 8:12] = 0
    head = head_of([ring, ring])
    assert head[0, 4:16, 4:16].all()
    assert head.sum() == 144


def test_other_grids_are_refused() -> None:
    with pytest.raises(InputError, match="different grids"):
        score(TRUTH, TRUTH[:-1], HEAD)
