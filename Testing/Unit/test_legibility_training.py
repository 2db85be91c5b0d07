"""What training asks of a fused slice beside the scores: lesions, bone, background."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch

from MedFusionLib.training.legibility import (
    LegibleLoss,
    ScoreLoss,
    bone_terms,
    lesion_terms,
    range_terms,
)
from MedFusionLib.training.lesions import LesionMaker, fixed_lesions, transfers


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    reference, other = 0.3 + 0.3 * torch.rand(2, 3, 1, 128, 128, generator=generator)
    reference[..., :30], other[..., :30] = 0, 0
    return reference, other


def test_a_lesion_is_a_gaussian_cut_at_three_deviations(pair) -> None:
    lesions = fixed_lesions(*pair, seed=3)
    profile = lesions.profiles[0, 0].numpy()
    row, column = np.unravel_index(profile.argmax(), profile.shape)
    rows, columns = np.mgrid[:128, :128]
    distance = np.hypot(rows - row, columns - column)
    reach = distance[profile > 0].max()
    assert profile.max() == 1
    sigma = np.sqrt(-(distance[row, column + 2] ** 2) / (2 * np.log(profile[row, column + 2])))
    assert 2 <= sigma <= 9 and 3 * sigma - 1 < reach <= 3 * sigma
    inside = distance <= reach
    assert np.allclose(
        profile[inside], np.exp(-(distance[inside] ** 2) / (2 * sigma**2)), atol=1e-5
    )


def test_lesions_do_not_touch_and_stand_where_something_is_shown(pair) -> None:
    lesions = fixed_lesions(*pair, seed=5)
    assert ((lesions.profiles > 0).sum(1) <= 1).all()
    centres = lesions.profiles.flatten(2).argmax(2)[lesions.counted > 0]
    assert len(centres) > 6 and (centres % 128 >= 30).all()


def test_a_pair_of_black_slices_gets_no_lesion() -> None:
    black = torch.zeros(2, 1, 64, 64)
    lesions = LesionMaker()(black, black)
    assert lesions.counted.sum() == 0
    assert torch.equal(lesions.reference, black) and torch.equal(lesions.other, black)


def test_a_lesion_over_saturated_ground_does_not_count(pair) -> None:
    reference, other = pair
    lesions = fixed_lesions(reference, torch.ones_like(other), seed=2)
    assert lesions.counted[~lesions.in_other].sum() == 0


def test_making_fixed_lesions_leaves_the_random_state_alone(pair) -> None:
    torch.manual_seed(8)
    expected = torch.rand(3)
    torch.manual_seed(8)
    first, second = (fixed_lesions(*pair, seed=4) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.reference, second.reference)


def test_transfer_is_one_for_a_copy_a_half_for_the_mean_and_negative_for_an_inverse(pair) -> None:
    reference, other = pair
    lesions = fixed_lesions(reference, other, seed=6)
    of_reference = (lesions.counted > 0) & ~lesions.in_other
    inserted = lesions.reference - reference
    half = (inserted + lesions.other - other) / 2
    shown = transfers(lesions, inserted, reference, other)
    assert torch.allclose(shown[of_reference], torch.ones(1), atol=1e-4)
    assert shown[(lesions.counted > 0) & lesions.in_other].abs().max() < 1e-6
    counted = lesions.counted > 0
    assert torch.allclose(transfers(lesions, half, reference, other)[counted], torch.tensor(0.5))
    assert torch.allclose(
        transfers(lesions, -inserted, reference, other)[of_reference], -torch.ones(1), atol=1e-4
    )


def test_lesions_of_three_sources_go_into_each_and_arrive_where_that_source_is_shown(pair) -> None:
    sources = *pair, pair[0].flip(-2)
    lesions = fixed_lesions(*sources, seed=9)
    added = [one - before for one, before in zip(lesions.sources, sources, strict=True)]
    for number, change in enumerate(added):
        shown = transfers(lesions, change, *sources)[lesions.counted > 0]
        own = (lesions.place == number)[lesions.counted > 0]
        assert own.any() and torch.allclose(shown[own], torch.ones(1), atol=1e-4)
        assert shown[~own].abs().max() < 1e-6


def test_of_three_sources_the_brightest_beside_a_lesion_decides_whether_it_counts(pair) -> None:
    reference, other = pair
    lesions = fixed_lesions(reference, other, torch.ones_like(other), seed=2)
    assert lesions.counted[lesions.place < 2].sum() == 0


def test_a_lost_lesion_costs_and_one_in_full_does_not(pair) -> None:
    lesions = fixed_lesions(*pair, seed=7)
    change = lesions.reference - pair[0] + lesions.other - pair[1]
    in_full = lesion_terms(lesions, change, *pair)
    assert all(float(term) == pytest.approx(0, abs=1e-6) for term in in_full.values())
    lost = lesion_terms(lesions, torch.zeros_like(change), *pair)
    assert float(lost["lesions"]) == pytest.approx(1) and float(lost["lost lesions"]) > 0.5
    # A change where nothing was inserted is a halo.
    assert float(lesion_terms(lesions, change + 0.1, *pair)["halo"]) > 0.05


def test_solid_bone_costs_nothing_and_hollow_bone_does() -> None:
    ct = torch.zeros(1, 1, 64, 64)
    ct[..., 20:44, 20:44] = 1
    hollow = ct.clone()
    hollow[..., 24:40, 24:40] = 0.6
    assert all(float(term) < 1e-6 for term in bone_terms(ct, ct).values())
    share = 16**2 / 24**2
    assert float(bone_terms(hollow, ct)["bone"]) == pytest.approx(share * (0.4 - 0.05), rel=1e-4)


def test_a_calcification_that_sinks_into_its_surroundings_costs() -> None:
    ct = torch.full((1, 1, 64, 64), 0.3)
    ct[..., 30:33, 30:33] = 1
    sunk = ct.clone()
    sunk[ct < 1] = 0.8
    terms = bone_terms(sunk, ct)
    # Its contrast to a Gaussian of 3 pixels falls to 2 / 7 of what it was.
    bone = ct[0, 0].numpy() > 0.9
    blurred = scipy.ndimage.gaussian_filter(ct[0, 0].numpy().astype(float), 3, truncate=3)
    lacking = (5 / 7 * (1 - blurred))[bone].mean()
    assert float(terms["bone"]) == 0
    assert float(terms["bone contrast"]) == pytest.approx(lacking, rel=1e-2)


def test_what_is_cut_and_light_over_background_cost() -> None:
    black, uncut = torch.zeros(2, 1, 1, 16, 16)
    uncut[..., :8] = 1.5
    terms = range_terms(uncut, uncut.clamp(0, 1), black, black)
    assert float(terms["cut"]) == pytest.approx(0.25)
    assert float(terms["background"]) == pytest.approx(0.5)


class Mean:
    """Fuses as the mean, with one factor to learn."""

    def __init__(self) -> None:
        self.factor = torch.tensor(0.5, requires_grad=True)

    def uncut(self, reference: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return self.factor * (reference + other)

    def cut(self, uncut: torch.Tensor, *sources: torch.Tensor) -> torch.Tensor:
        return uncut.clamp(0, 1)


def test_the_loss_asks_the_mean_to_show_more_of_both_sources(pair) -> None:
    fuser = Mean()
    nothing_else = LegibleLoss(lambda fused, reference, other: {})
    terms = nothing_else(fuser, *pair)
    # A mean shows half of every lesion: what is missing is squared.
    assert float(terms["lesions"].detach()) == pytest.approx(45 * 0.25, rel=0.02)
    terms["lesions"].backward()
    assert fuser.factor.grad < 0
    halved = LegibleLoss(lambda fused, reference, other: {}, legibility=0.5)(fuser, *pair)
    assert float(halved["lost lesions"]) == pytest.approx(
        0.5 * float(terms["lost lesions"]), rel=0.02
    )


def test_the_scores_alone_are_a_loss_on_the_shown_slice(pair) -> None:
    terms = ScoreLoss(lambda fused, reference, other: {"mean": fused.mean()})(Mean(), *pair)
    assert float(terms["mean"].detach()) == pytest.approx(
        float((pair[0] + pair[1]).mean() / 2), rel=1e-5
    )
