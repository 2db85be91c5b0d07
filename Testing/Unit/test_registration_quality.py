"""The verdict on an alignment, from its evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation
from sklearn.metrics import mutual_info_score

from MedFusionLib.registration.checks import Mirror, Repeat
from MedFusionLib.registration.images import Head, laid, mirrored, see_head, surface_points
from MedFusionLib.registration.measures import BINS, mutual_information
from MedFusionLib.registration.position import place
from MedFusionLib.registration.quality import Evidence, frames_of_reference, give_verdict
from MedFusionLib.registration.transforms import from_matrix, inverse, matrix_of
from MedFusionLib.registration.turns import degrees_between, spread_rotations
from MedFusionLib.volumes.volume import Volume

GOOD = Evidence(
    mutual_information_before=0.2,
    mutual_information_after=0.6,
    overlap=1.0,
    residual_mm=0.8,
    residual_limit_mm=1.5,
    moved_mm=12.0,
    turned_degrees=9.0,
    turned_information=0.45,
    turned_information_degrees=175.0,
    frames_of_reference="unknown",
    mirror=Mirror(straight=0.7, flipped=0.6, likeness=0.9),
)


def test_good_evidence_passes():
    assert give_verdict(GOOD)[0] == "pass"


@pytest.mark.parametrize(
    "change, words",
    [
        ({"overlap": 0.1}, "10 % of the smaller head"),
        ({"mirror": Mirror(0.6, 0.7, 0.9, 0.9)}, "flipped left–right"),
        ({"residual_mm": 9.0}, "no stable position"),
        ({"residual_mm": float("inf")}, "no stable position"),
        ({"residual_mm": float("nan")}, "no stable position"),
    ],
)
def test_evidence_against_an_alignment_fails_it_with_the_reason(change, words):
    verdict, reason = give_verdict(replace(GOOD, **change))
    assert verdict == "failed" and words in reason


@pytest.mark.parametrize(
    "change, words",
    [
        ({"overlap": 0.45}, "45 % of the smaller head"),
        ({"residual_mm": 2.0}, "2.0 mm"),
        ({"mutual_information_after": 0.1}, "almost nothing"),
        ({"mutual_information_before": 0.9}, "less about each other than before"),
        ({"mirror": Mirror(0.70, 0.70, 0.9)}, "cannot be told"),
        ({"mirror": Mirror(0.612, 0.6, 0.9)}, "may not show the same head: mirrored"),
        ({"turned_information": 0.58}, "by 175° more"),
        ({"turned_degrees": 120.0}, "had to be turned by 120°"),
        ({"moved_mm": 40.0, "frames_of_reference": "same"}, "same frame of reference"),
    ],
)
def test_weak_evidence_makes_an_alignment_doubtful_with_the_reason(change, words):
    verdict, reason = give_verdict(replace(GOOD, **change))
    assert verdict == "doubtful" and words in reason


def test_an_unstable_position_is_told_as_another_head_first_and_not_as_a_flip():
    """A head held against a knee fits no worse mirrored."""
    unstable = replace(GOOD, residual_mm=9.0, mirror=Mirror(0.2, 0.25, 0.9))
    verdict, reason = give_verdict(unstable)
    assert verdict == "failed" and reason.startswith("The two volumes may not show the same head")
    assert "flipped" not in reason
    weak = replace(GOOD, mirror=Mirror(0.18, 0.2, 0.9))
    verdict, reason = give_verdict(weak)
    assert verdict == "failed" and "flipped" not in reason and "the same head" in reason


def test_a_flip_is_named_where_the_mirrored_place_holds_and_else_said_to_be_unknown():
    """The mirrored place is held against 1.5 limits (2.25 mm), or against what was found."""
    for residual, mirrored_residual in [(0.8, 2.2), (3.0, 2.9)]:
        mirror = Mirror(0.6, 0.7, 0.9, mirrored_residual)
        verdict, reason = give_verdict(replace(GOOD, residual_mm=residual, mirror=mirror))
        assert verdict == "failed" and "looks flipped left–right" in reason
    for residual, mirrored_residual in [(0.8, 2.3), (3.0, 3.1), (0.8, float("inf"))]:
        for likeness in (0.7, 0.999):
            mirror = Mirror(0.6, 0.7, likeness, mirrored_residual)
            verdict, reason = give_verdict(replace(GOOD, residual_mm=residual, mirror=mirror))
            assert verdict == "doubtful" and "looks flipped" not in reason
            assert "flipped left–right cannot be told" in reason


def test_half_a_head_counts_by_how_clearly_it_fits_elsewhere():
    drifted, clear = Repeat("left half", 12.0, 0.002), Repeat("left half", 12.0, 0.2)
    assert drifted.counted_mm < 1.0 and clear.counted_mm == 12.0
    assert Repeat("left half", 12.0, -0.1).counted_mm == 0.0
    assert Repeat("start 1", 12.0, -0.1).counted_mm == 12.0
    assert Repeat("left half", float("inf")).counted_mm == float("inf")


def test_a_failed_alignment_tells_as_well_that_the_volume_fits_better_turned():
    evidence = replace(GOOD, residual_mm=9.0, turned_information=0.9)
    verdict, reason = give_verdict(evidence)
    assert verdict == "failed" and "no stable position" in reason and "by 175° more" in reason


def test_a_symmetric_volume_passes_and_the_flip_that_nobody_can_see_is_mentioned():
    verdict, reason = give_verdict(replace(GOOD, mirror=Mirror(0.7, 0.7, 0.999)))
    assert verdict == "pass" and "mirror image" in reason


@pytest.mark.parametrize(
    "straight, likeness", [(0.612, 0.97), (0.65, 0.8), (0.61, 0.985), (0.67, -0.2)]
)
def test_a_head_has_to_fit_the_worse_mirrored_the_less_alike_its_sides_are(straight, likeness):
    assert give_verdict(replace(GOOD, mirror=Mirror(straight, 0.6, likeness)))[0] == "pass"


def with_frame(uid):
    metadata = {} if uid is None else {"frame_of_reference_uid": uid}
    return Volume(np.zeros((4, 4, 4)), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), metadata=metadata)


def test_frames_of_reference_are_the_same_different_or_unknown():
    assert frames_of_reference(with_frame("1.2"), with_frame("1.2")) == "same"
    assert frames_of_reference(with_frame("1.2"), with_frame("1.3")) == "different"
    assert frames_of_reference(with_frame("1.2"), with_frame(None)) == "unknown"


def ball(seed, offset=0.0):
    k, j, i = np.indices((40, 40, 40))
    inside = (i - 20) ** 2 + (j - 20) ** 2 + (k - 20) ** 2 < 15**2
    noise = np.random.default_rng(seed).uniform(80, 120, inside.shape)
    voxels = np.where(inside, noise, 0).astype(np.float32)
    return Volume(voxels, (3.0, 3.0, 3.0), (offset, 0.0, 0.0))


def everywhere(volume):
    """The volume as a head whose mask is the whole grid."""
    seen = see_head(volume, "test")
    mask = SimpleITK.Cast(seen.image * 0 + 1, SimpleITK.sitkUInt8)
    return Head(seen.image, mask, seen.centre)


def test_mutual_information_is_that_of_scikit_learn_on_the_same_grey_levels():
    one, two = everywhere(ball(0)), everywhere(ball(1))
    levels = []
    for head in (one, two):
        values = SimpleITK.GetArrayFromImage(head.image).ravel()
        edges = np.histogram_bin_edges(values, BINS)
        levels.append(np.clip(np.digitize(values, edges) - 1, 0, BINS - 1))
    identity = SimpleITK.Transform(3, SimpleITK.sitkIdentity)
    assert mutual_information(one, two, identity) == pytest.approx(
        mutual_info_score(*levels), rel=1e-9
    )


def test_the_head_is_found_where_it_is_and_its_surface_lies_around_it():
    head = see_head(ball(0, offset=7.0), "test")
    assert np.allclose(head.centre, (67.0, 60.0, 60.0), atol=1.0)
    radii = np.linalg.norm(surface_points(head.mask) - head.centre, axis=1)
    assert np.all((radii > 38) & (radii < 54))


def test_the_tried_rotations_are_unit_quaternions_and_none_lies_far_from_all_of_them():
    tried = np.array(spread_rotations(600))
    assert np.allclose(np.linalg.norm(tried, axis=1), 1.0)
    anywhere = Rotation.random(2000, random_state=0).as_quat()
    # The angle between two rotations is twice that between their quaternions, up to sign.
    nearest = np.degrees(2 * np.arccos(np.abs(anywhere @ tried.T).max(axis=1).clip(max=1.0)))
    assert nearest.max() < 30.0


def test_the_angle_between_transforms_is_that_of_scipy_whatever_their_centres():
    first, second = Rotation.random(2, random_state=1)
    one, two = SimpleITK.Euler3DTransform((1, 2, 3)), SimpleITK.AffineTransform(3)
    one.SetMatrix(first.as_matrix().ravel().tolist())
    two.SetMatrix(second.as_matrix().ravel().tolist())
    angle = np.degrees((first.inv() * second).magnitude())
    assert degrees_between(one, two, (-4.0, 5.0, 6.0)) == pytest.approx(angle)


def test_a_laid_head_shows_every_point_where_the_transform_came_from():
    head = see_head(ball(0, offset=7.0), "test")
    turn = SimpleITK.Euler3DTransform((60, 60, 60), 1.2, -0.4, 2.0, (12, 5, -8))
    there = laid(head, turn)
    assert np.allclose(turn.TransformPoint(there.centre), head.centre)
    for index in np.random.default_rng(0).integers(0, 40, (20, 3)).tolist():
        point = there.image.TransformIndexToPhysicalPoint(index)
        assert np.allclose(
            turn.TransformPoint(point), head.image.TransformIndexToPhysicalPoint(index)
        )
        assert there.image[index] == head.image[index]


def test_a_mirrored_head_shows_every_point_as_far_to_the_other_side_of_its_centre():
    head = see_head(ball(0, offset=7.0), "test")
    there = mirrored(head).image
    for index in np.random.default_rng(0).integers(0, 40, (20, 3)).tolist():
        one = np.subtract(head.image.TransformIndexToPhysicalPoint(index), head.centre)
        two = np.subtract(there.TransformIndexToPhysicalPoint(index), head.centre)
        assert np.allclose(two, one * (-1, 1, 1))


def test_a_head_laid_by_a_turn_keeps_its_whole_transform():
    one, two = see_head(ball(0), "one"), see_head(ball(1, offset=7.0), "two")
    start = SimpleITK.Euler3DTransform((60, 60, 60), 0.3, -0.2, 0.5, (12, 5, -8))
    turn = SimpleITK.Euler3DTransform((50, 60, 70), -1.5, 0.1, 2.5, (2, 3, 4))
    position = place((one, two), start)
    whole = matrix_of(position.moved_to(turn).whole("rigid"))
    assert np.allclose(whole, matrix_of(start) @ matrix_of(turn))
    again = position.laid_by(turn)
    assert np.allclose(matrix_of(again.whole("rigid")), whole)
    assert np.allclose(matrix_of(again.placing) @ matrix_of(again.expected), matrix_of(start))
    assert np.allclose(matrix_of(again.placing) @ matrix_of(again.filed), np.eye(4))


def test_a_matrix_becomes_the_rigid_or_affine_transform_it_describes_and_back():
    true = SimpleITK.Euler3DTransform((10, -4, 7), 0.3, -0.2, 0.5, (12, 5, -8))
    for freedom in ("rigid", "affine"):
        made = from_matrix(matrix_of(true), freedom, (1.0, 2.0, 3.0))
        back = inverse(made, freedom, (-5.0, 0.0, 2.0))
        for point in np.random.default_rng(0).normal(0, 80, (20, 3)).tolist():
            assert np.allclose(made.TransformPoint(point), true.TransformPoint(point), atol=1e-9)
            there = made.TransformPoint(point)
            assert np.allclose(back.TransformPoint(there), point, atol=1e-9)
