"""Parent transforms of the two nodes reach the resampling, linear and non-linear."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
import slicer
import vtk

from MedFusionLib.errors import GeometryError
from MedFusionLib.registration.overlap import resample
from MedFusionLib.slicer_app.scene.mrml import addVolumeNode, volumeFromNode
from MedFusionLib.slicer_app.scene.transforms import (
    FIELD_TOLERANCE,
    referenceToOtherTransform,
    transformInSteps,
)
from MedFusionLib.volumes.volume import Volume

FLIP = np.array([-1.0, -1.0, 1.0])
SPACING = (1.1, 1.3, 2.0)


def matrix_of(translation, angles) -> np.ndarray:
    transform = vtk.vtkTransform()
    transform.Translate(translation)
    transform.RotateX(angles[0])
    transform.RotateY(angles[1])
    transform.RotateZ(angles[2])
    return slicer.util.arrayFromVTKMatrix(transform.GetMatrix())


def add_linear(scene, matrix: np.ndarray, parent=None):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(parent.GetID() if parent else None)
    return node


def add_volume(scene, name: str, parent=None, voxels=None):
    oblique = matrix_of((0, 0, 0), (6, -4, 12))[:3, :3]
    voxels = np.ones((14, 20, 24), np.float32) if voxels is None else voxels
    volume = Volume(voxels, SPACING, (-14.0, -11.0, -15.0), tuple(oblique.ravel()))
    node = addVolumeNode(scene, volume, name)
    node.SetAndObserveTransformNodeID(parent.GetID() if parent else None)
    return node


def some_points(node) -> np.ndarray:
    """Points (n, 3) of the node's own space, LPS, all over its grid, corners included."""
    affine = volumeFromNode(node).affine_lps
    last = np.array(node.GetImageData().GetDimensions()) - 1
    shares = np.array(np.meshgrid([0, 0.31, 0.5, 1], [0, 0.44, 1], [0, 0.7, 1])).reshape(3, -1).T
    return np.column_stack([shares * last, np.ones(len(shares))]) @ affine.T[:, :3]


def test_no_transform_is_between_two_volumes_under_the_same_parent(scene):
    parent = add_linear(scene, matrix_of((5, 0, 0), (10, 0, 0)))
    assert referenceToOtherTransform(add_volume(scene, "a"), add_volume(scene, "b")) is None
    same = add_volume(scene, "a", parent), add_volume(scene, "b", parent)
    assert referenceToOtherTransform(*same) is None


@pytest.mark.parametrize("moved", ["reference", "other", "both"])
def test_a_point_of_the_world_is_found_in_both_volumes_through_linear_parents(scene, moved):
    outer, inner = matrix_of((4, -3, 9), (5, 20, -8)), matrix_of((-7, 2, 1), (0, -15, 30))
    room = matrix_of((100, 50, -20), (90, 0, 45))
    roomNode = add_linear(scene, room)
    referenceParent = add_linear(scene, outer, roomNode) if moved != "other" else None
    otherParent = add_linear(scene, inner, roomNode) if moved != "reference" else None
    referenceToWorld = room @ outer if moved != "other" else np.eye(4)
    otherToWorld = room @ inner if moved != "reference" else np.eye(4)
    transform = referenceToOtherTransform(
        add_volume(scene, "reference", referenceParent), add_volume(scene, "other", otherParent)
    )
    for world in np.random.default_rng(0).uniform(-80, 80, (8, 3)):
        inReference = (np.linalg.inv(referenceToWorld) @ (*world, 1))[:3] * FLIP
        inOther = (np.linalg.inv(otherToWorld) @ (*world, 1))[:3] * FLIP
        np.testing.assert_allclose(transform.TransformPoint(inReference), inOther, atol=1e-9)


def bilinear_displacement(points: np.ndarray) -> np.ndarray:
    """A smooth field, RAS in mm, that linear interpolation reproduces exactly."""
    x, y, z = points.T
    return np.column_stack([0.004 * x * y + 2, -0.003 * y * z, 0.005 * x * z - 1])


def add_grid(scene):
    """Grid transform node whose transform to parent adds ``bilinear_displacement``."""
    edge = np.arange(-60.0, 61.0, 10.0)
    k, j, i = np.meshgrid(edge, edge, edge, indexing="ij")
    points = np.column_stack([i.ravel(), j.ravel(), k.ravel()])
    image = vtk.vtkImageData()
    image.SetDimensions(len(edge), len(edge), len(edge))
    image.SetSpacing(10, 10, 10)
    image.SetOrigin(-60, -60, -60)
    image.AllocateScalars(vtk.VTK_DOUBLE, 3)
    from vtk.util.numpy_support import vtk_to_numpy

    vtk_to_numpy(image.GetPointData().GetScalars())[:] = bilinear_displacement(points)
    grid = slicer.vtkOrientedGridTransform()
    grid.SetDisplacementGridData(image)
    grid.SetInterpolationModeToLinear()
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode")
    node.SetAndObserveTransformToParent(grid)
    return node


def test_a_grid_transform_above_the_reference_moves_its_points_as_the_grid_says(scene):
    reference = add_volume(scene, "reference", add_grid(scene))
    transform = referenceToOtherTransform(reference, add_volume(scene, "other"))
    for point in some_points(reference):
        ras = (point * FLIP)[None]
        expected = (ras + bilinear_displacement(ras))[0] * FLIP
        np.testing.assert_allclose(
            transform.TransformPoint(point), expected, atol=FIELD_TOLERANCE * min(SPACING)
        )


def test_a_grid_transform_above_the_other_volume_is_inverted(scene):
    reference = add_volume(scene, "reference")
    transform = referenceToOtherTransform(reference, add_volume(scene, "other", add_grid(scene)))
    for point in some_points(reference):
        found = (np.array(transform.TransformPoint(point)) * FLIP)[None]
        there = (found + bilinear_displacement(found))[0] * FLIP
        np.testing.assert_allclose(there, point, atol=2 * FIELD_TOLERANCE * min(SPACING))


def add_spline(scene, amplitude: float, folder):
    """Random B-spline that SimpleITK wrote and Slicer read: the transform and its node."""
    spline = SimpleITK.BSplineTransformInitializer(
        SimpleITK.Image([70, 70, 70], SimpleITK.sitkUInt8), [6, 6, 6]
    )
    spline.SetTransformDomainOrigin([-60, -60, -60])
    spline.SetTransformDomainPhysicalDimensions([120, 120, 120])
    spline.SetTransformDomainMeshSize([6, 6, 6])
    count = len(spline.GetParameters())
    coefficients = np.random.default_rng(3).uniform(-amplitude, amplitude, count)
    spline.SetParameters(coefficients.tolist())
    SimpleITK.WriteTransform(spline, str(folder / "spline.h5"))
    storage = scene.AddNewNodeByClass("vtkMRMLTransformStorageNode")
    storage.SetFileName(str(folder / "spline.h5"))
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    assert storage.ReadData(node)
    return spline, node


def test_a_b_spline_that_simpleitk_wrote_maps_points_as_in_simpleitk(scene, tmp_path):
    spline, parent = add_spline(scene, 3.0, tmp_path)
    reference = add_volume(scene, "reference")
    transform = referenceToOtherTransform(reference, add_volume(scene, "other", parent))
    for point in some_points(reference):
        np.testing.assert_allclose(
            transform.TransformPoint(point),
            spline.TransformPoint(point),
            atol=FIELD_TOLERANCE * min(SPACING),
        )


def test_a_b_spline_that_folds_space_is_refused_where_it_has_to_be_inverted(scene, tmp_path):
    _, parent = add_spline(scene, 60.0, tmp_path)
    folded, straight = add_volume(scene, "folded", parent), add_volume(scene, "straight")
    with pytest.raises(GeometryError, match="folds space"):
        referenceToOtherTransform(folded, straight)
    assert referenceToOtherTransform(straight, folded) is not None


def test_a_transform_that_takes_long_is_found_in_many_short_steps(scene, tmp_path):
    _, parent = add_spline(scene, 3.0, tmp_path)
    inverted = transformInSteps(add_volume(scene, "bent", parent), add_volume(scene, "straight"))
    assert not inverted.isFound
    count = sum(1 for _ in inverted.steps())
    assert inverted.isFound
    assert count > 20
    assert list(inverted.steps()) == []


def test_the_first_point_without_an_inverse_ends_the_search(scene, tmp_path):
    """A folding transform was tried all over the grid before; a few steps tell."""
    _, parent = add_spline(scene, 60.0, tmp_path)
    inverted = transformInSteps(add_volume(scene, "folded", parent), add_volume(scene, "straight"))
    steps = inverted.steps()
    seen = 0
    with pytest.raises(GeometryError, match="folds space"):
        for _ in steps:
            seen += 1
    whole = add_volume(scene, "folded", add_spline(scene, 3.0, tmp_path)[1])
    all_steps = transformInSteps(whole, add_volume(scene, "straight")).steps()
    assert seen < sum(1 for _ in all_steps) / 2


def test_a_transform_that_is_changed_while_it_is_sampled_is_refused(scene, tmp_path):
    _, parent = add_spline(scene, 3.0, tmp_path)
    sampled = transformInSteps(add_volume(scene, "straight"), add_volume(scene, "bent", parent))
    steps = sampled.steps()
    next(steps)
    parent.GetTransformToParent().Modified()
    with pytest.raises(GeometryError, match="changed meanwhile"):
        list(steps)


def spot(center: np.ndarray, affine: np.ndarray, shape) -> np.ndarray:
    """Gaussian spot (standard deviation 2.5 mm) at an LPS point on a grid."""
    k, j, i = np.indices(shape)
    points = np.stack([i, j, k, np.ones(shape)], axis=-1) @ affine.T[:, :3]
    squared = ((points - center) ** 2).sum(axis=-1)
    return (1000 * np.exp(-squared / 12.5)).astype(np.float32)


def centroid(volume: Volume) -> np.ndarray:
    weights = volume.voxels.astype(float)
    k, j, i = (weights * index for index in np.indices(weights.shape))
    index = np.array([i.sum(), j.sum(), k.sum()]) / weights.sum()
    return (volume.affine_lps @ (*index, 1))[:3]


@pytest.mark.parametrize("kind", ["linear", "grid"])
def test_a_spot_at_one_world_point_of_both_volumes_lies_on_itself_after_resampling(scene, kind):
    shape = (14, 20, 24)
    parent = add_linear(scene, matrix_of((4, -3, 5), (5, 9, -8)))
    if kind == "grid":
        parent = add_grid(scene)
    reference = add_volume(scene, "reference")
    affine = volumeFromNode(reference).affine_lps
    here = (affine @ (11, 9, 6, 1))[:3]
    toParent = parent.GetTransformFromParent()
    there = np.array(toParent.TransformPoint(here * FLIP)) * FLIP
    assert np.linalg.norm(there - here) > 2
    other = add_volume(scene, "other", parent, spot(there, affine, shape))
    moved = resample(
        volumeFromNode(other),
        volumeFromNode(reference),
        referenceToOtherTransform(reference, other),
    )
    np.testing.assert_allclose(centroid(moved), here, atol=0.1)
    untouched = slicer.util.arrayFromVolume(other)
    np.testing.assert_array_equal(untouched, spot(there, affine, shape))
    assert other.GetParentTransformNode() is parent
