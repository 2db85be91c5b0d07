"""Slice stacks and padding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from MedFusionLib.computing.slice_fusion import fuse_slices
from MedFusionLib.slices.stack import pad_to_stride, slice_stack
from MedFusionLib.volumes.volume import Volume

PERMUTATIONS = list(itertools.permutations(range(3)))
FLIPS = list(itertools.product((False, True), repeat=3))


def stored_otherwise(volume: Volume, order, flips) -> Volume:
    """The same voxels at the same places, with the array's axes in another order and sense."""
    voxels = volume.voxels.transpose(order)
    axes = [2 - axis for axis in order[::-1]]
    directions = volume.direction_matrix[:, axes].copy()
    spacing = np.asarray(volume.spacing)[axes]
    origin = np.asarray(volume.origin, dtype=float)
    for axis, flip in enumerate(flips):
        if flip:
            voxels = np.flip(voxels, 2 - axis)
            length = voxels.shape[2 - axis] - 1
            origin = origin + directions[:, axis] * spacing[axis] * length
            directions[:, axis] *= -1
    return Volume(voxels, tuple(spacing), tuple(origin), tuple(directions.ravel()))


def oblique() -> Volume:
    import SimpleITK

    rotation = SimpleITK.Euler3DTransform((0, 0, 0), 0.15, -0.1, 0.3).GetMatrix()
    voxels = np.random.default_rng(0).random((4, 5, 6))
    return Volume(voxels, (1.0, 1.5, 3.0), (3.0, -8.0, 20.0), rotation)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_volume_gives_the_same_stack_in_each_of_48_array_orders(plane):
    volume = oblique()
    expected = slice_stack(volume.voxels, volume.direction_matrix, plane)
    for order, flips in itertools.product(PERMUTATIONS, FLIPS):
        other = stored_otherwise(volume, order, flips)
        assert np.array_equal(slice_stack(other.voxels, other.direction_matrix, plane), expected)


def test_axial_slices_run_to_the_head_with_the_nose_up_and_the_patients_right_on_the_left():
    # Stored as RAS: I to the right, J to the front, K to the head.
    directions = np.diag([-1.0, -1.0, 1.0])
    voxels = np.zeros((2, 3, 4))
    voxels[1, 2, 3] = 1  # head, front, right
    assert slice_stack(voxels, directions, "axial")[1, 0, 0] == 1
    assert slice_stack(voxels, directions, "coronal")[0, 0, 0] == 1
    assert slice_stack(voxels, directions, "sagittal")[0, 0, 0] == 1


def test_writing_into_a_stack_writes_the_volume():
    volume = oblique()
    voxels = np.zeros(volume.grid_shape)
    slice_stack(voxels, volume.direction_matrix, "coronal")[...] = slice_stack(
        volume.voxels, volume.direction_matrix, "coronal"
    )
    assert np.array_equal(voxels, volume.voxels)


def test_padding_reflects_as_numpy_does():
    image = torch.rand(2, 1, 37, 45)
    expected = np.pad(image.numpy(), ((0, 0), (0, 0), (0, 27), (0, 19)), mode="reflect")
    assert np.array_equal(pad_to_stride(image, 64).numpy(), expected)


def test_slices_smaller_than_their_padding_are_reflected_again_and_again():
    image = torch.arange(3.0).view(1, 1, 1, 3)
    expected = np.pad([0.0, 1.0, 2.0], (0, 13), mode="reflect")
    assert pad_to_stride(image, 16)[0, 0, 7].tolist() == expected.tolist()


class Glowing:
    name, stride = "glowing", 8

    def fuse(self, reference, other, slice_indices=None):
        return torch.full_like(reference, 1.5)


def test_no_method_lights_up_what_is_empty_in_both_sources_or_leaves_the_range():
    reference, other = torch.rand(2, 1, 21, 30), torch.rand(2, 1, 21, 30)
    reference[..., :10, :] = 0
    other[..., :10, :] = 0
    fused = fuse_slices(Glowing(), reference, other)
    assert fused.shape == reference.shape
    assert (fused[..., :10, :] == 0).all() and (fused[..., 10:, :] == 1).all()
