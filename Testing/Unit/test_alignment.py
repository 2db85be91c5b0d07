"""Overlap and resampling, against fields whose values are known everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from MedFusionLib.errors import GeometryError, InputError
from MedFusionLib.registration.overlap import (
    describe_overlap,
    read_transform,
    refuse_bad_overlap,
    resample,
)
from MedFusionLib.volumes.volume import Volume

SLOPE = np.array([2.0, -1.5, 0.75])


def grid(shape, spacing, origin, angles=(0.0, 0.0, 0.0), metadata=None) -> Volume:
    directions = SimpleITK.Euler3DTransform((0, 0, 0), *angles).GetMatrix()
    return Volume(np.zeros(shape, np.float32), spacing, origin, directions, "MR", metadata or {})


def points(volume: Volume) -> np.ndarray:
    """(K, J, I, 3) LPS coordinates of the voxels."""
    k, j, i = np.indices(volume.grid_shape)
    indices = np.stack([i, j, k, np.ones_like(i)], axis=-1)
    return (indices @ volume.affine_lps.T)[..., :3]


def with_field(volume: Volume) -> Volume:
    """Values that grow linearly in space, which linear interpolation reproduces exactly."""
    values = (points(volume) @ SLOPE).astype(np.float32)
    return Volume(values, volume.spacing, volume.origin, volume.directions, "PET")


REFERENCE = grid((20, 24, 22), (1.0, 1.2, 1.5), (-10, -12, -14), (0.1, 0.05, -0.2))
OTHER = with_field(grid((40, 40, 40), (2.0, 2.0, 2.0), (-40, -40, -40), (0.0, 0.0, 0.3)))


def inside(volume: Volume, at: np.ndarray) -> np.ndarray:
    inverse = np.linalg.inv(volume.affine_lps)
    index = at @ inverse[:3, :3].T + inverse[:3, 3]
    return np.all((index >= 0) & (index <= np.array(volume.grid_shape[::-1]) - 1), axis=-1)


def test_resampling_reads_the_field_at_the_references_points():
    result = resample(OTHER, REFERENCE)
    at = points(REFERENCE)
    where = inside(OTHER, at)
    assert where.mean() > 0.9
    assert np.allclose(result.voxels[where], (at @ SLOPE)[where], atol=1e-3)


def test_a_transform_leads_from_the_references_space_to_the_others():
    transform = SimpleITK.Euler3DTransform((1, 2, 3), 0.1, -0.05, 0.08, (4, -3, 2))
    result = resample(OTHER, REFERENCE, transform)
    at = points(REFERENCE)
    moved = np.array([transform.TransformPoint(point) for point in at.reshape(-1, 3).tolist()])
    moved = moved.reshape(at.shape)
    where = inside(OTHER, moved)
    assert np.allclose(result.voxels[where], (moved @ SLOPE)[where], atol=1e-3)


def test_integers_are_rounded_and_not_cut_off():
    field = np.add.outer(np.zeros((4, 4)), 10 * np.arange(8)).astype(np.int16)
    other = Volume(field, (1, 1, 1), (0, 0, 0))
    between = Volume(np.zeros((4, 4, 7)), (1, 1, 1), (0.49, 0, 0))
    result = resample(other, between)
    assert result.voxels.dtype == np.int16
    assert result.voxels[1, 1].tolist() == [5, 15, 25, 35, 45, 55, 65]


def test_the_result_lies_on_the_references_grid_bit_for_bit():
    result = resample(OTHER, REFERENCE)
    assert result.spacing == REFERENCE.spacing
    assert result.origin == REFERENCE.origin
    assert result.directions == REFERENCE.directions
    assert result.grid_shape == REFERENCE.grid_shape


def test_what_the_other_volume_does_not_cover_takes_its_smallest_value():
    far = grid((10, 10, 10), (1, 1, 1), (25, -5, -5))
    result = resample(OTHER, far)
    outside = ~inside(OTHER, points(far))
    assert (result.voxels[outside][-5:] == OTHER.voxels.min()).all()


def test_the_kinds_of_overlap_are_told_apart():
    assert describe_overlap(REFERENCE, REFERENCE).kind == "same grid"
    assert describe_overlap(REFERENCE, OTHER).kind == "same space, other grid"
    away = grid((5, 5, 5), (1, 1, 1), (500, 0, 0))
    assert describe_overlap(REFERENCE, away).kind == "no overlap"
    one = grid((9, 9, 9), (1, 1, 1), (0, 0, 0), metadata={"frame_of_reference_uid": "1.2"})
    two = grid((9, 9, 9), (1, 1, 1), (0, 0, 0), metadata={"frame_of_reference_uid": "1.3"})
    assert describe_overlap(one, two).kind == "different frames of reference"
    identity = SimpleITK.Euler3DTransform()
    assert describe_overlap(one, two, identity).kind == "same space, other grid"


def test_half_an_overlap_is_counted_as_half():
    one = grid((10, 10, 10), (1, 1, 1), (0, 0, 0))
    two = grid((10, 10, 10), (1, 1, 1), (5, 0, 0))
    assert describe_overlap(one, two).fraction == pytest.approx(0.5, abs=0.05)


def test_a_small_volume_inside_a_large_one_overlaps_wholly():
    small = grid((5, 5, 5), (1, 1, 1), (0, 0, 0))
    large = grid((50, 50, 50), (1, 1, 1), (-20, -20, -20))
    assert describe_overlap(large, small).fraction == 1.0


def test_volumes_apart_and_in_different_frames_are_refused_with_advice():
    away = grid((5, 5, 5), (1, 1, 1), (500, 0, 0))
    with pytest.raises(GeometryError, match="--alignment rigid"):
        refuse_bad_overlap(describe_overlap(REFERENCE, away))


def test_a_transform_file_is_read_and_a_wrong_one_refused(tmp_path):
    transform = SimpleITK.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3, (4, 5, 6))
    SimpleITK.WriteTransform(transform, str(tmp_path / "t.tfm"))
    again = read_transform(tmp_path / "t.tfm")
    assert np.allclose(again.TransformPoint((7, 8, 9)), transform.TransformPoint((7, 8, 9)))
    (tmp_path / "wrong.tfm").write_text("nothing")
    with pytest.raises(InputError, match="not a transform"):
        read_transform(tmp_path / "wrong.tfm")
