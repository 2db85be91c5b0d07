"""Distance to a target and place along a trajectory, against geometry by hand."""

from __future__ import annotations

import numpy as np
import pytest
import vtk

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from MedFusionLib.slicer_app.views.targets import (  # noqa: E402
    distanceToTarget,
    pointerDirection,
    positionOnTrajectory,
)

DOWN = np.array([0.0, 0.0, -1.0])


@pytest.fixture
def points(scene):
    return scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Targets")


@pytest.fixture
def line(scene):
    """From an entry at the top straight down to a target 50 mm below."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "Trajectory")
    node.AddControlPoint(10, 20, 60)
    node.AddControlPoint(10, 20, 10)
    return node


def test_the_nearest_point_is_the_target_and_named(points):
    points.AddControlPoint(100, 0, 0, "far")
    points.AddControlPoint(3, 4, 12, "tumor")
    found = distanceToTarget(points, np.zeros(3))
    assert (found.label, found.distance) == ("tumor", 13.0)


def test_a_point_that_is_not_placed_yet_is_no_target(points):
    assert distanceToTarget(points, np.zeros(3)) is None
    points.AddControlPoint(1, 1, 1)
    points.UnsetNthControlPointPosition(0)
    assert distanceToTarget(points, np.zeros(3)) is None


def test_beside_along_and_angle_to_a_trajectory(line):
    found = positionOnTrajectory(line, np.array([13.0, 24.0, 40.0]), DOWN)
    assert found.lateral == pytest.approx(5.0)
    assert found.depth == pytest.approx(20.0)
    assert found.remaining == pytest.approx(30.0)
    assert found.angle == pytest.approx(0.0)


def test_before_the_entry_and_beyond_the_target_have_their_signs(line):
    before = positionOnTrajectory(line, np.array([10.0, 20.0, 65.0]), DOWN)
    beyond = positionOnTrajectory(line, np.array([10.0, 20.0, 3.0]), DOWN)
    assert (before.depth, before.remaining) == pytest.approx((-5.0, 55.0))
    assert (beyond.depth, beyond.remaining) == pytest.approx((57.0, -7.0))


@pytest.mark.parametrize("degrees", [0.0, 30.0, 90.0, 180.0])
def test_the_angle_is_that_between_the_pointers_own_axis_and_the_line(scene, line, degrees):
    transform = vtk.vtkTransform()
    transform.Translate(1, 2, 3)
    transform.RotateX(180 - degrees)
    pointer = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Stylus")
    pointer.SetMatrixTransformToParent(transform.GetMatrix())
    found = positionOnTrajectory(line, np.zeros(3), pointerDirection(pointer))
    assert found.angle == pytest.approx(degrees, abs=1e-4)


def test_everything_moves_with_the_markups_parent_transform(scene, line):
    turned = vtk.vtkTransform()
    turned.RotateY(90)
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Patient")
    parent.SetMatrixTransformToParent(turned.GetMatrix())
    line.SetAndObserveTransformNodeID(parent.GetID())
    matrix = slicer.util.arrayFromVTKMatrix(turned.GetMatrix())[:3, :3]
    found = positionOnTrajectory(line, matrix @ [13.0, 24.0, 40.0], matrix @ DOWN)
    assert (found.lateral, found.depth, found.angle) == pytest.approx((5.0, 20.0, 0.0), abs=1e-4)


def test_a_line_without_two_ends_tells_nothing(scene):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode")
    assert positionOnTrajectory(node, np.zeros(3), DOWN) is None
    node.AddControlPoint(1, 1, 1)
    assert positionOnTrajectory(node, np.zeros(3), DOWN) is None
    node.AddControlPoint(1, 1, 1)
    assert positionOnTrajectory(node, np.zeros(3), DOWN) is None
