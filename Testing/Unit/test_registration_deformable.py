"""Bending after a rigid alignment, against distortions that were made and are therefore known."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from MedFusionLib.errors import InputError
from MedFusionLib.registration import deformable
from MedFusionLib.registration.align import align
from MedFusionLib.registration.deformable import deform
from MedFusionLib.registration.overlap import read_transform, resample
from MedFusionLib.registration.transforms import write_transform
from MedFusionLib.volumes.volume import Volume

SPACING = 3.0
SHAPE = (56, 64, 56)
IDENTITY = SimpleITK.Euler3DTransform()
T1, EPI = (0, 60, 70, 110, 20, 90), (0, 15, 100, 70, 140, 40)


def head(contrast, places):
    """A made head's values at (…, 3) voxel places, K, J, I: rim, folded tissue, two hollows."""
    z, y, x = np.moveaxis(places - (np.array(SHAPE) - 1) / 2, -1, 0) * SPACING
    radius = np.sqrt((x / 60) ** 2 + (y / 72) ** 2 + (z / 62) ** 2)
    folds = np.sin(x / 7 + 0.4 * np.sin(y / 11)) * np.cos(y / 9) * np.sin(z / 8 + 1.0)
    tissue = np.where(folds > 0.05, 2, 3)
    tissue = np.where(radius > 0.9, 1, tissue)
    tissue = np.where(((x + 8) / 12) ** 2 + (y / 25) ** 2 + ((z - 5) / 14) ** 2 < 1, 4, tissue)
    tissue = np.where(((x - 30) / 14) ** 2 + ((y + 20) / 18) ** 2 + (z / 16) ** 2 < 1, 5, tissue)
    return np.asarray(contrast, np.float32)[np.where(radius > 1, 0, tissue)]


def way(places):
    """Made distortion in mm along y: 8 mm in the front of the head, nothing in the back."""
    z, y, x = np.moveaxis(places - (np.array(SHAPE) - 1) / 2, -1, 0) * SPACING
    return 8.0 * np.exp(-((x / 45) ** 2 + ((y + 40) / 40) ** 2 + (z / 45) ** 2))


PLACES = np.stack(np.indices(SHAPE), axis=-1).astype(float)


def volume(contrast, places, modality="MR"):
    noise = np.random.default_rng(3).normal(0, 1, SHAPE)
    voxels = ndimage.gaussian_filter(head(contrast, places), 0.5) + noise
    return Volume(voxels.astype(np.float32), (SPACING,) * 3, (0.0, 0.0, 0.0), modality=modality)


@pytest.fixture(scope="module")
def pair():
    """T1, and an EPI whose every voxel shows what lies ``way`` behind it."""
    pytest.importorskip("convexAdam")
    there = PLACES.copy()
    there[..., 1] -= way(PLACES) / SPACING
    return volume(T1, PLACES), volume(EPI, there)


@pytest.fixture(scope="module")
def bent(pair):
    return deform(*pair, IDENTITY)


def errors(transform):
    """Distances in mm, in the head, to where the made distortion takes each voxel of the T1."""
    inside = head(T1, PLACES)[::4, ::4, ::4] > 0
    places = PLACES[::4, ::4, ::4][inside]
    seen = places.copy()
    for _ in range(20):  # the way is given where it ends, so its start is found by iteration
        seen[:, 1] = places[:, 1] + way(seen) / SPACING
    found = [transform.TransformPoint(point) for point in (places[:, ::-1] * SPACING).tolist()]
    return np.linalg.norm(np.array(found) - seen[:, ::-1] * SPACING, axis=1)


def test_a_distortion_is_found_across_contrasts_without_folding(bent):
    before, after = errors(IDENTITY), errors(bent.transform)
    far = before > 4.0
    assert before.max() > 6.0
    assert after[far].mean() < 0.5 * before[far].mean()
    assert np.percentile(after, 95) < 0.5 * np.percentile(before, 95)
    assert after.mean() < before.mean()
    assert bent.least_jacobian > 0
    assert 3.0 < bent.largest_mm < 12.0 and not bent.is_large
    assert bent.mutual_information_after > bent.mutual_information_before


def test_the_field_ends_in_nothing_outside_the_head(bent):
    for point in ([-60.0, -60.0, -60.0], [400.0, 80.0, 80.0]):
        assert np.allclose(bent.transform.TransformPoint(point), point, atol=1e-6)


def test_a_written_field_reads_back_to_the_same_points_and_voxels(tmp_path, pair, bent):
    write_transform(bent.transform, tmp_path / "bent.h5")
    read = read_transform(tmp_path / "bent.h5")
    assert np.allclose(errors(read), errors(bent.transform), atol=1e-9)
    one, two = (resample(pair[1], pair[0], transform) for transform in (read, bent.transform))
    assert np.array_equal(one.voxels, two.voxels)


def test_volumes_that_lie_on_each_other_are_hardly_bent(pair):
    other = volume(EPI, PLACES)
    assert errors_of_nothing(deform(pair[0], other, IDENTITY).transform).mean() < 1.0


def test_what_one_volume_alone_shows_bends_nothing():
    """A T1 with its scalp, and an EPI without one."""
    pytest.importorskip("convexAdam")
    z, y, x = np.moveaxis(PLACES - (np.array(SHAPE) - 1) / 2, -1, 0) * SPACING
    bald = volume(EPI, PLACES)
    bald.voxels[(x / 60) ** 2 + (y / 72) ** 2 + (z / 62) ** 2 > 0.8**2] = 0.0
    assert errors_of_nothing(deform(volume(T1, PLACES), bald, IDENTITY).transform).mean() < 0.5


def errors_of_nothing(transform):
    inside = head(T1, PLACES)[::4, ::4, ::4] > 0
    points = PLACES[::4, ::4, ::4][inside][:, ::-1] * SPACING
    found = np.array([transform.TransformPoint(point) for point in points.tolist()])
    return np.linalg.norm(found - points, axis=1)


def test_a_folding_field_is_smoothed_until_it_folds_no_more():
    grid = SimpleITK.Image([40, 40, 40], SimpleITK.sitkFloat32)
    grid.SetSpacing([2.5] * 3)
    ways = np.zeros((40, 40, 40, 3))
    ways[20:, 12:28, 12:28, 2] = -6.0
    field = SimpleITK.GetImageFromArray(ways, isVector=True)
    field.CopyInformation(grid)
    smooth, least = deformable._without_folds(field, grid)
    determinant = SimpleITK.DisplacementFieldJacobianDeterminant(smooth)
    assert SimpleITK.GetArrayFromImage(determinant).min() == pytest.approx(least)
    assert least >= deformable.LEAST_JACOBIAN


def test_the_deformable_alignment_reports_its_displacement(pair):
    start = SimpleITK.Euler3DTransform((80.0, 95.0, 80.0), 0.02, 0.0, -0.02, (1.0, -2.0, 1.0))
    found = align(*pair, kind="deformable", initial=start)
    report = json.loads(json.dumps(found.to_report(), allow_nan=False))
    assert found.quality.verdict != "failed", found.quality.reason
    assert report["deformation"]["largest_mm"] > 3.0
    assert f"{found.deformation.largest_mm:.1f} mm" in found.quality.reason
    assert errors(found.transform).mean() < errors(found.deformation.rigid).mean()
    assert np.array_equal(
        found.resampled.voxels, resample(pair[1], pair[0], found.transform).voxels
    )


def test_without_the_engine_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "convexAdam", None)
    monkeypatch.setitem(sys.modules, "convexAdam.convex_adam_MIND", None)
    still = volume(T1, PLACES)
    with pytest.raises(InputError, match="pip install 'medfusion\\[deformable\\]'"):
        align(still, still, kind="deformable")
