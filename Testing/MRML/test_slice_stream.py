"""What reaches SlicerOpenIGTLink's connector when a slice at the tip is sent."""

from __future__ import annotations

import numpy as np
import pytest
import vtk

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from MedFusionLib.errors import InputError  # noqa: E402
from MedFusionLib.slicer_app.scene.mrml import addVolumeNode  # noqa: E402
from MedFusionLib.slicer_app.views import slice_stream  # noqa: E402
from MedFusionLib.slicer_app.views.slice_stream import SliceStream, canStream  # noqa: E402
from MedFusionLib.volumes.volume import Volume  # noqa: E402


class Connector:
    """Stands in for vtkMRMLIGTLConnectorNode: it sends a node whenever its image is set."""

    def __init__(self, scene):
        self._scene, self.sent, self.stopped = scene, [], False

    def RegisterOutgoingMRMLNode(self, node):
        node.AddObserver(slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, self._send)

    def _send(self, node, event):
        if node.GetImageData() is not None:
            matrix = vtk.vtkMatrix4x4()
            node.GetIJKToRASMatrix(matrix)
            voxels = slicer.util.arrayFromVolume(node).copy()
            self.sent.append((node.GetName(), slicer.util.arrayFromVTKMatrix(matrix), voxels))

    def Stop(self):
        self.stopped = True

    def GetScene(self):
        return None


@pytest.fixture
def fused(scene):
    """A colour volume whose green tells the height in mm above the lowest slice."""
    voxels = np.zeros((20, 30, 40, 3), np.uint8)
    voxels[..., 1] = np.arange(20, dtype=np.uint8)[:, None, None]
    return addVolumeNode(scene, Volume(voxels, (1, 1, 1), (0, 0, 0)), "T1 + PET fused")


@pytest.fixture
def connectors():
    return []


@pytest.fixture
def stream(connectors, monkeypatch):
    monkeypatch.setattr(slice_stream, "SECONDS_BETWEEN", 0.0)

    def make(scene):
        connectors.append(Connector(scene))
        return connectors[-1]

    stream = SliceStream(make)
    yield stream
    stream.stop()


def middle(sent) -> tuple[np.ndarray, np.ndarray]:
    """Place (RAS) between the four middle pixels, and their mean colour."""
    _name, matrix, voxels = sent
    return (matrix @ [127.5, 127.5, 0, 1])[:3], voxels[0, 127:129, 127:129].mean(axis=(0, 1))


def test_each_slice_is_sent_once_with_the_place_that_its_pixels_have(stream, connectors, fused):
    stream.start(fused)
    for height in (3.0, 11.0):
        assert stream.send(np.array([-20.0, -15.0, height]))
    (connector,) = connectors
    assert [sent[0] for sent in connector.sent] == ["MedFusion", "MedFusion"]
    for sent, height in zip(connector.sent, (3, 11), strict=True):
        place, colour = middle(sent)
        assert place == pytest.approx([-20, -15, height])
        assert colour.tolist() == [0, height, 0]


def test_a_volume_under_a_transform_is_cut_where_it_is_in_the_world(
    scene, stream, connectors, fused
):
    patient = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Patient")
    fused.SetAndObserveTransformNodeID(patient.GetID())
    stream.start(fused)
    for shift in (5.0, 9.0):
        moved = vtk.vtkMatrix4x4()
        moved.SetElement(2, 3, shift)
        patient.SetMatrixTransformToParent(moved)
        stream.send(np.array([-20.0, -15.0, 12.0]))
        place, colour = middle(connectors[0].sent[-1])
        assert place == pytest.approx([-20, -15, 12])
        assert colour.tolist() == [0, 12 - shift, 0]


def test_a_volume_that_was_fused_anew_is_sent_anew(stream, connectors, fused):
    stream.start(fused)
    slicer.util.updateVolumeFromArray(fused, np.full((20, 30, 40, 3), 77, np.uint8))
    stream.send(np.array([-20.0, -15.0, 12.0]))
    assert middle(connectors[0].sent[-1])[1].tolist() == [77, 77, 77]


def test_after_stop_nothing_is_sent_and_no_node_is_left(scene, stream, connectors, fused):
    count = scene.GetNumberOfNodes()
    stream.start(fused)
    stream.stop()
    assert not stream.send(np.zeros(3))
    assert connectors[0].stopped
    assert connectors[0].sent == []
    assert scene.GetNumberOfNodes() == count


def test_slices_are_not_sent_faster_than_a_screen_shows(connectors, fused):
    stream = SliceStream(lambda scene: Connector(scene))
    stream.start(fused)
    assert stream.send(np.zeros(3))
    assert not stream.send(np.zeros(3))
    stream.stop()


def test_a_transform_that_bends_is_refused_with_a_sentence(scene, stream, fused):
    spline = vtk.vtkThinPlateSplineTransform()
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "Warp")
    node.SetAndObserveTransformToParent(spline)
    fused.SetAndObserveTransformNodeID(node.GetID())
    with pytest.raises(InputError, match="bends"):
        stream.start(fused)
    assert not stream.active


def test_without_the_extension_nothing_can_be_sent():
    assert not canStream()
