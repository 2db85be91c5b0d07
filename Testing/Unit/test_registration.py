"""Registration against misalignments that were made and are therefore known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from MedFusionLib.errors import Cancelled, InputError
from MedFusionLib.fusion import fuse
from MedFusionLib.registration.align import align
from MedFusionLib.registration.checks import look_for_mirror
from MedFusionLib.registration.images import see_head
from MedFusionLib.registration.overlap import read_transform, resample
from MedFusionLib.registration.quality import FLIP_HOLDS_LIMITS, LIMIT_DIAGONALS
from MedFusionLib.volumes.volume import Volume

CENTRE = (3.0, -5.0, 10.0)
HALF_AXES = np.array([68.0, 86.0, 72.0])


def head_at(points, contrast):
    """Value of a made head at points (…, 3), LPS in mm about CENTRE: skull, brain, ventricles,
    and lobes that differ from left to right; ``contrast`` maps tissue classes to values."""
    x, y, z = np.moveaxis((points - CENTRE), -1, 0)
    radius = np.sqrt(((points - CENTRE) ** 2 / HALF_AXES**2).sum(-1))
    folds = np.sin(x / 9 + 0.4 * np.sin(y / 14)) * np.cos(y / 11) * np.sin(z / 10 + 1.0)
    tissue = np.where(folds > 0.05, 2, 3)
    tissue = np.where(radius > 0.92, 1, tissue)
    tissue = np.where(((x + 8) / 12) ** 2 + (y / 25) ** 2 + ((z - 5) / 14) ** 2 < 1, 4, tissue)
    tissue = np.where(((x - 35) / 14) ** 2 + ((y + 20) / 18) ** 2 + (z / 16) ** 2 < 1, 5, tissue)
    return np.asarray(contrast, np.float32)[np.where(radius > 1, 0, tissue)]


T1 = (0, 60, 70, 110, 20, 90)
PET = (0, 8, 100, 30, 5, 130)


def scan(contrast, spacing, transform=None, angles=(0.0, 0.0, 0.0), cover=(1.0, 1.0), **keywords):
    """The made head, moved by ``transform``, on a grid of its own; ``cover``: shares of the
    extent along K that the grid begins before and ends after the middle."""
    transform = transform or SimpleITK.Euler3DTransform()
    there = np.array(transform.TransformPoint(CENTRE))
    directions = np.array(SimpleITK.Euler3DTransform((0, 0, 0), *angles).GetMatrix()).reshape(3, 3)
    low, high = -105.0 * np.array([1, 1, cover[0]]), 105.0 * np.array([1, 1, cover[1]])
    shape = tuple(np.ceil((high - low) / spacing).astype(int)[::-1].tolist())
    origin = there + directions @ low
    k, j, i = np.indices(shape, dtype=np.float32)
    points = origin + (np.stack([i, j, k], -1) * spacing) @ directions.T
    matrix = np.array(transform.GetInverse().GetMatrix()).reshape(3, 3)
    offset = np.array(transform.GetInverse().TransformPoint((0.0, 0.0, 0.0)))
    voxels = head_at(points @ matrix.T + offset, contrast)
    voxels = ndimage.gaussian_filter(voxels, [1.5 / step for step in spacing[::-1]])
    noise = np.random.default_rng(7).normal(0, 2, shape).astype(np.float32)
    return Volume(
        voxels + noise,
        spacing,
        tuple(origin.tolist()),
        tuple(directions.ravel().tolist()),
        **keywords,
    )


def largest_error(found, true):
    """Largest distance in mm between two transforms over the corners of the head's box."""
    corners = CENTRE + HALF_AXES * (np.array(list(np.ndindex(2, 2, 2))) * 2 - 1)
    return max(
        np.linalg.norm(np.subtract(found.TransformPoint(point), true.TransformPoint(point)))
        for point in corners.tolist()
    )


def euler(degrees, shift):
    return SimpleITK.Euler3DTransform(CENTRE, *np.radians(degrees).tolist(), shift)


REFERENCE = scan(T1, (2.5, 2.5, 2.5), modality="MR")
TRUE = euler((12.0, -9.0, 14.0), (25.0, -28.0, 18.0))


@pytest.fixture(scope="module")
def found():
    return align(REFERENCE, scan(PET, (3.0, 3.0, 3.0), TRUE, modality="PET"))


def test_a_large_turn_and_shift_between_contrasts_is_found_and_passes(found):
    assert largest_error(found.transform, TRUE) < 2.0
    assert found.quality.verdict == "pass", found.quality.reason
    evidence = found.quality.evidence
    assert evidence.mutual_information_after > 1.5 * evidence.mutual_information_before
    assert evidence.residual_mm < evidence.residual_limit_mm


def test_the_aligned_volume_is_the_other_one_read_through_the_transform(found):
    other = scan(PET, (3.0, 3.0, 3.0), TRUE, modality="PET")
    assert np.array_equal(
        found.resampled.voxels, resample(other, REFERENCE, found.transform).voxels
    )
    assert found.resampled.affine_lps.tolist() == REFERENCE.affine_lps.tolist()


def test_the_same_seed_gives_the_same_bits(found):
    again = align(REFERENCE, scan(PET, (3.0, 3.0, 3.0), TRUE, modality="PET"))
    assert again.transform.GetParameters() == found.transform.GetParameters()
    assert again.to_report() == found.to_report()


def test_the_report_is_plain_json_and_names_its_evidence(found):
    report = json.loads(json.dumps(found.to_report(), allow_nan=False))
    quality = report["quality"]
    assert quality["verdict"] == "pass" and quality["reason"]
    assert len(quality["repeats"]) >= 10
    point = np.array(report["matrix"]) @ [*CENTRE, 1.0]
    assert np.allclose(point[:3], found.transform.TransformPoint(CENTRE))


def test_oblique_thick_slices_that_cover_half_a_head_are_aligned():
    true = euler((-8.0, 5.0, 10.0), (-12.0, 15.0, -9.0))
    other = scan(PET, (1.5, 1.5, 5.0), true, (0.3, -0.2, 0.1), cover=(0.15, 0.9), modality="PET")
    result = align(REFERENCE, other)
    assert largest_error(result.transform, true) < np.linalg.norm(other.spacing)
    assert result.quality.verdict != "failed", result.quality.reason


def test_both_directions_of_a_pair_are_inverse_to_a_millimetre():
    other = scan(PET, (3.0, 3.0, 3.0), euler((4, 3, -6), (8, -5, 6)), cover=(0.8, 0.9))
    there = align(REFERENCE, other).transform
    back = align(other, REFERENCE).transform
    assert largest_error(there, back.GetInverse()) < 1.0


def test_affine_finds_a_stretch():
    stretch = SimpleITK.AffineTransform(3)
    stretch.SetCenter(CENTRE)
    stretch.SetMatrix(np.diag([1.06, 0.95, 1.04]).ravel().tolist())
    stretch.SetTranslation((5.0, -4.0, 3.0))
    other = scan(PET, (3.0, 3.0, 3.0), stretch)
    assert largest_error(align(REFERENCE, other, kind="affine").transform, stretch) < 3.0


def test_an_initial_transform_is_climbed_from_and_none_only_judges_it():
    true = euler((0, 0, 65.0), (10.0, 0.0, 0.0))
    other = scan(PET, (3.0, 3.0, 3.0), true)
    near = euler((2.0, 0.0, 60.0), (6.0, 2.0, 0.0))
    assert largest_error(align(REFERENCE, other, initial=near).transform, true) < 2.0
    judged = align(REFERENCE, other, kind="none", initial=true)
    assert largest_error(judged.transform, true) < 1e-6
    assert judged.quality.verdict == "pass", judged.quality.reason
    off = align(REFERENCE, other, kind="none", initial=euler((0, 0, 65.0), (22.0, 0.0, 0.0)))
    assert off.quality.verdict != "pass"


@pytest.mark.parametrize("degrees", [(0, 0, 150), (90, 0, 0), (-90, 40, 0)])
def test_a_head_that_lies_turned_far_away_is_found_and_asked_about(degrees):
    true = euler(degrees, (10.0, -6.0, 4.0))
    result = align(REFERENCE, scan(PET, (3.0, 3.0, 3.0), true))
    assert largest_error(result.transform, true) < 2.0
    assert result.quality.verdict == "doubtful"
    angle = np.degrees(np.arccos((np.trace(np.reshape(true.GetMatrix(), (3, 3))) - 1) / 2))
    assert f"had to be turned by {angle:.0f}°" in result.quality.reason


def test_a_start_in_the_wrong_turn_is_climbed_from_but_not_trusted():
    """The made head looks alike after half a turn, so the climb ends there and repeats agree."""
    start = euler((0.0, 0.0, 175.0), (0.0, 0.0, 0.0))
    quality = align(REFERENCE, scan(PET, (3.0, 3.0, 3.0)), initial=start).quality
    assert quality.verdict != "pass", quality.reason
    assert "fits about as well or better" in quality.reason


def test_fusing_climbs_from_an_initial_transform():
    """The whole alignment stands in the report, and the fused volume is that of its transform."""
    true = euler((0.0, 0.0, 150.0), (10.0, 0.0, 0.0))
    reference, other = scan(T1, (4.0, 4.0, 4.0)), scan(PET, (4.0, 4.0, 4.0), true)
    start = SimpleITK.CompositeTransform([true, euler((3.0, -2.0, 2.5), (4.0, 3.0, -2.0))])
    assert largest_error(start, true) > 5.0
    fused = fuse(reference, other, "average", "rigid", "cpu", initial=start)
    assert largest_error(fused.transform, true) < 2.0
    again = fuse(reference, other, "average", fused.transform, "cpu")
    assert np.array_equal(fused.volume.voxels, again.volume.voxels)
    report = json.loads(json.dumps(fused.report, allow_nan=False))
    assert report["registration"] == align(reference, other, initial=start).to_report()
    assert np.allclose(report["registration"]["matrix"], report["transform"]["matrix"])


def test_an_initial_transform_without_a_registration_is_refused():
    start = euler((0, 0, 5.0), (1.0, 0.0, 0.0))
    for alignment in ("resample", "none", start):
        with pytest.raises(InputError, match="choose the alignment rigid or affine"):
            fuse(REFERENCE, REFERENCE, "average", alignment, "cpu", initial=start)


def test_a_volume_flipped_left_to_right_is_named_and_fails():
    other = scan(PET, (3.0, 3.0, 3.0), euler((3, -2, 4), (5, 4, -3)))
    flipped = Volume(other.voxels[:, :, ::-1], other.spacing, other.origin, other.directions)
    quality = align(REFERENCE, flipped).quality
    assert quality.verdict == "failed" and "flipped left–right" in quality.reason


def test_a_flip_is_named_in_a_head_that_lies_turned_as_well():
    true = euler((0, 0, 90), (5, 4, -3))
    other = scan(PET, (3.0, 3.0, 3.0), true, cover=(0.8, 0.9))
    flipped = Volume(other.voxels[:, ::-1], other.spacing, other.origin, other.directions)
    quality = align(REFERENCE, flipped).quality
    assert quality.verdict == "failed" and "flipped left–right" in quality.reason


def pushed_together(volume, width):
    """Left and right half moved by ``width`` voxels towards each other; what lay between is gone.

    No place of the whole is right for both halves, flipped or not, and nothing is flipped.
    """
    left, right = np.split(volume.voxels, 2, axis=2)
    air = np.zeros_like(left[:, :, :width])
    voxels = np.concatenate([air, left[:, :, :-width], right[:, :, width:], air], axis=2)
    return replace(volume, voxels=voxels)


@pytest.mark.parametrize("whole", [True, False])
def test_a_mirrored_place_holds_in_a_flipped_head_and_not_where_no_place_is_right(whole):
    """Both fit better mirrored; only the first one is flipped."""
    other = scan(PET, (3.0, 3.0, 3.0))
    flipped = replace(other, voxels=np.ascontiguousarray(other.voxels[:, :, ::-1]))
    seen = flipped if whole else pushed_together(other, 6)
    identity = euler((0, 0, 0), (0, 0, 0))
    heads = see_head(REFERENCE, "reference"), see_head(seen, "other")
    mirror = look_for_mirror(*heads, identity, "rigid", seed=0)
    limit = LIMIT_DIAGONALS * np.linalg.norm(other.spacing)
    assert mirror.fits_better
    assert mirror.residual_mm < limit if whole else mirror.residual_mm > FLIP_HOLDS_LIMITS * limit


def test_another_object_does_not_pass():
    k, j, i = np.indices((70, 70, 70))
    rods = ((i // 8 + j // 8) % 2 * 60 + 40) * (np.hypot(i - 35, j - 35) < 30) * (abs(k - 35) < 30)
    phantom = Volume(rods.astype(np.float32), (2.5, 2.5, 2.5), (0.0, 0.0, 0.0))
    quality = align(REFERENCE, phantom).quality
    assert quality.verdict != "pass" and quality.reason


def test_volumes_without_a_head_are_refused_with_a_sentence():
    flat = Volume(np.zeros((20, 20, 20), np.float32), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="one value only"):
        align(REFERENCE, flat)
    speck = np.random.default_rng(0).random((20, 20, 20)).astype(np.float32)
    with pytest.raises(InputError, match="No head"):
        align(Volume(speck, (0.5, 0.5, 0.5), (0.0, 0.0, 0.0)), REFERENCE)
    with pytest.raises(InputError, match="no alignment 'elastic'"):
        align(REFERENCE, REFERENCE, kind="elastic")


def test_a_position_without_overlap_fails():
    far = euler((0, 0, 0), (900.0, 0.0, 0.0))
    judged = align(REFERENCE, scan(PET, (3.0, 3.0, 3.0)), kind="none", initial=far)
    assert judged.quality.verdict == "failed" and "0 %" in judged.quality.reason


def test_cancel_stops_within_the_work_and_progress_reaches_the_end():
    told = []
    other = scan(PET, (4.0, 4.0, 4.0), euler((2, 1, 3), (4, 3, 2)))
    align(REFERENCE, other, progress=lambda done, total, text: told.append((done, total, text)))
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][0] == told[-1][1] and len(told) > 10
    asked = []

    def after_a_while():
        asked.append(True)
        return len(asked) > 200

    with pytest.raises(Cancelled):
        align(REFERENCE, other, cancel=after_a_while)


@pytest.mark.parametrize("suffix", [".tfm", ".h5"])
def test_a_written_transform_is_read_back_by_simpleitk_to_the_same_points(tmp_path, found, suffix):
    from MedFusionLib.registration.transforms import write_transform

    path = tmp_path / f"found{suffix}"
    write_transform(found.transform, path)
    for read in (SimpleITK.ReadTransform(str(path)), read_transform(path)):
        assert largest_error(read, found.transform) < 1e-9
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with pytest.raises(InputError, match="no transform format"):
        write_transform(found.transform, tmp_path / "found.pickle")
