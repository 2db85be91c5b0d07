"""Slice views on a real MRML scene follow a pointer's tip."""

from __future__ import annotations

import types

import numpy as np
import pytest
import vtk

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from MedFusionLib.slicer_app.views.navigation import (  # noqa: E402
    DRIVER_ATTRIBUTE,
    PointerFollower,
    ResliceDrive,
    distanceToBorder,
    isDriven,
    tipInWorld,
)

TIP = np.array([12.345, -6.789, 21.05])


def rotation(degrees: float, axis: str = "Z"):
    transform = vtk.vtkTransform()
    getattr(transform, f"Rotate{axis}")(degrees)
    return slicer.util.arrayFromVTKMatrix(transform.GetMatrix())


def addTransform(scene, matrix, parent=None, name="Pointer"):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(parent.GetID() if parent else None)
    return node


def at(point, turned=None):
    matrix = np.eye(4) if turned is None else turned.copy()
    matrix[:3, 3] = point
    return matrix


@pytest.fixture
def sliceNodes(scene):
    """Red, yellow and green as in Slicer's conventional layout."""
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    nodes = []
    for name, orientation in (("Red", "Axial"), ("Yellow", "Sagittal"), ("Green", "Coronal")):
        node = scene.CreateNodeByClass("vtkMRMLSliceNode")
        node.UnRegister(None)
        node.SetLayoutName(name)
        node = scene.AddNode(node)
        node.SetOrientation(orientation)
        nodes.append(node)
    return nodes


@pytest.fixture
def crosshair(scene):
    node = scene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    node.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.NoCrosshair)
    return node


def offsets(sliceNodes):
    """Signed distances of the views' planes from the world's origin along S, R and A."""
    origins = [[node.GetSliceToRAS().GetElement(row, 3) for row in range(3)] for node in sliceNodes]
    return [origins[0][2], origins[1][0], origins[2][1]]


def test_three_views_cut_through_the_tip_after_each_move(scene, sliceNodes, crosshair):
    pointer = addTransform(scene, at([0, 0, 0]))
    follower = PointerFollower()
    follower.start(pointer, sliceNodes)
    for step in range(5):
        tip = TIP + 3.21 * step
        pointer.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(at(tip, rotation(40))))
        assert offsets(sliceNodes) == pytest.approx([tip[2], tip[0], tip[1]], abs=0.01)
        assert crosshair.GetCrosshairRAS() == pytest.approx(tuple(tip), abs=0.01)
    follower.stop()


def test_the_views_follow_when_only_the_pointers_parent_moves(scene, sliceNodes):
    parent = addTransform(scene, np.eye(4), name="TrackerToPatient")
    pointer = addTransform(scene, at([10, 0, 0]), parent)
    follower = PointerFollower()
    follower.start(pointer, sliceNodes)
    parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(at([0, 0, 5], rotation(90))))
    # A quarter turn about S takes 10 mm to the right to 10 mm to the front.
    assert tipInWorld(pointer) == pytest.approx([0, 10, 5], abs=1e-6)
    assert offsets(sliceNodes) == pytest.approx([5, 0, 10], abs=0.01)
    follower.stop()


def test_orientation_and_field_of_view_stay(scene, sliceNodes):
    before = [(node.GetOrientation(), node.GetFieldOfView()) for node in sliceNodes]
    pointer = addTransform(scene, at(TIP, rotation(33, "X")))
    follower = PointerFollower()
    follower.start(pointer, sliceNodes)
    assert [(node.GetOrientation(), node.GetFieldOfView()) for node in sliceNodes] == before
    follower.stop()


def test_a_view_with_a_reslice_driver_is_left_alone(scene, sliceNodes):
    sliceNodes[0].SetAttribute(DRIVER_ATTRIBUTE, "vtkMRMLLinearTransformNode7")
    before = offsets(sliceNodes)
    follower = PointerFollower()
    follower.start(addTransform(scene, at(TIP)), sliceNodes)
    after = offsets(sliceNodes)
    assert after[0] == before[0]
    assert after[1:] == pytest.approx([TIP[0], TIP[1]], abs=0.01)
    follower.stop()


def test_after_stop_nothing_moves_and_the_crosshair_is_as_before(scene, sliceNodes, crosshair):
    pointer = addTransform(scene, at(TIP))
    follower = PointerFollower()
    follower.start(pointer, sliceNodes)
    assert crosshair.GetCrosshairMode() == slicer.vtkMRMLCrosshairNode.ShowBasic
    follower.stop()
    before = offsets(sliceNodes)
    pointer.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(at(TIP + 50)))
    assert offsets(sliceNodes) == before
    assert crosshair.GetCrosshairMode() == slicer.vtkMRMLCrosshairNode.NoCrosshair
    assert not pointer.HasObserver(slicer.vtkMRMLTransformNode.TransformModifiedEvent)
    follower.stop()


def test_the_tip_and_its_distance_are_told(scene, sliceNodes):
    volume = slicer.util.addVolumeFromArray(np.zeros((10, 20, 30), np.int16), name="Fused")
    volume.SetSpacing(1.0, 2.0, 3.0)
    told = []
    follower = PointerFollower(onMoved=lambda tip, distance: told.append((tip, distance)))
    pointer = addTransform(scene, at([14.5, 19.0, 13.5]))
    follower.start(pointer, sliceNodes, volumeNode=volume)
    # The box reaches from -0.5 to 29.5, from -1 to 39 and from -1.5 to 28.5 mm.
    assert told[-1][1] == pytest.approx(15.0, abs=0.01)
    pointer.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(at([14.5, 19.0, 26.5])))
    assert told[-1][1] == pytest.approx(2.0, abs=0.01)
    pointer.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(at([32.5, 43.0, 13.5])))
    assert told[-1][1] == pytest.approx(-5.0, abs=0.01)
    follower.stop()


def test_the_distance_moves_with_the_volumes_parent_transform(scene):
    volume = slicer.util.addVolumeFromArray(np.zeros((11, 11, 11), np.int16), name="Fused")
    parent = addTransform(scene, at([100, 0, 0], rotation(90)), name="PatientRegistration")
    volume.SetAndObserveTransformNodeID(parent.GetID())
    centre = rotation(90)[:3, :3] @ [5, 5, 5] + [100, 0, 0]
    assert distanceToBorder(volume, centre) == pytest.approx(5.5, abs=0.01)


def test_without_slicerigt_the_reslice_driver_says_no(scene, sliceNodes):
    assert ResliceDrive().start(sliceNodes, addTransform(scene, at(TIP))) is False


class ResliceLogic:
    """What SlicerIGT's logic does to a view: attributes, a turn, and a crash for a lost driver."""

    MODE_NONE, MODE_INPLANE, MODE_INPLANE90, MODE_TRANSVERSE = range(4)

    def __init__(self, scene):
        self._scene = scene

    def SetDriverForSlice(self, nodeId, sliceNode):
        if self._scene.GetNodeByID(nodeId) is None:
            sliceNode.RemoveAttribute(DRIVER_ATTRIBUTE)
            return
        sliceNode.SetAttribute(DRIVER_ATTRIBUTE, nodeId)

    def SetModeForSlice(self, mode, sliceNode):
        driver = sliceNode.GetAttribute(DRIVER_ATTRIBUTE)
        if driver is None:
            return
        pointer = self._scene.GetNodeByID(driver)
        assert pointer is not None, "here SlicerIGT crashes"
        pointer.GetMatrixTransformToWorld(sliceNode.GetSliceToRAS())
        sliceNode.UpdateMatrices()


@pytest.fixture
def resliceDriver(scene, monkeypatch):
    module = types.SimpleNamespace(logic=lambda: ResliceLogic(scene))
    modules = types.SimpleNamespace(volumereslicedriver=module)
    monkeypatch.setattr(slicer, "modules", modules, raising=False)


def test_views_that_were_turned_get_their_orientation_back(scene, sliceNodes, resliceDriver):
    before = [node.GetOrientation() for node in sliceNodes]
    drive = ResliceDrive()
    assert drive.start(sliceNodes, addTransform(scene, at(TIP, rotation(33, "X"))))
    assert [node.GetOrientation() for node in sliceNodes] == ["Reformat"] * 3
    drive.stop()
    assert [node.GetOrientation() for node in sliceNodes] == before
    assert offsets(sliceNodes) == pytest.approx([TIP[2], TIP[0], TIP[1]], abs=0.01)
    assert not any(isDriven(node) for node in sliceNodes)


def test_a_pointer_that_was_deleted_does_not_keep_the_views(scene, sliceNodes, resliceDriver):
    pointer = addTransform(scene, at(TIP, rotation(33, "X")))
    drive = ResliceDrive()
    drive.start(sliceNodes, pointer)
    scene.RemoveNode(pointer)
    drive.stop()
    assert not any(isDriven(node) for node in sliceNodes)


def test_a_view_that_the_user_lets_another_node_drive_keeps_it(scene, sliceNodes, resliceDriver):
    probe = addTransform(scene, at([0, 0, 0]), name="Probe")
    sliceNodes[1].SetAttribute(DRIVER_ATTRIBUTE, probe.GetID())
    drive = ResliceDrive()
    drive.start(sliceNodes, addTransform(scene, at(TIP)))
    assert sliceNodes[1].GetAttribute(DRIVER_ATTRIBUTE) == probe.GetID()
    drive.stop()
    assert sliceNodes[1].GetAttribute(DRIVER_ATTRIBUTE) == probe.GetID()
    assert not isDriven(sliceNodes[0])
