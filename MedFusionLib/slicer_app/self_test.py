"""What ``MedFusionTest`` does inside Slicer: functions of a ``unittest`` case and a logic.

They run the module as a user does, with the real worker process and Slicer's own event loop.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import qt
import slicer
import vtk

from MedFusionLib.errors import Cancelled
from MedFusionLib.slicer_app.panel.icons import SLICER_ICONS
from MedFusionLib.slicer_app.panel.panel import SELECTORS
from MedFusionLib.slicer_app.scene.sample_data import loadSamplePair

FASTEST = "average"
SECONDS_TO_WAIT = 40.0


def wholeWay(case, logic) -> None:
    """Fuse the sample pair under a parent transform; grid, transform and provenance are right."""
    referenceNode, otherNode = loadSamplePair()
    patient = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Patient")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 25.0)
    patient.SetMatrixTransformToParent(matrix)
    for node in (referenceNode, otherNode):
        node.SetAndObserveTransformNodeID(patient.GetID())
    fusedNode = logic.fuse(referenceNode, otherNode, method=FASTEST, device="cpu")
    case.assertEqual(_grid(fusedNode), _grid(referenceNode))
    case.assertIs(fusedNode.GetParentTransformNode(), patient)
    case.assertEqual(fusedNode.GetAttribute("MedFusion.Method"), FASTEST)
    case.assertIs(fusedNode.GetNodeReference("MedFusion.Reference"), referenceNode)
    case.assertGreater(int(slicer.util.arrayFromVolume(fusedNode).max()), 100)
    again = logic.fuse(referenceNode, otherNode, fusedNode, method=FASTEST, device="cpu")
    case.assertIs(again, fusedNode)


def fusedVolumeSurvivesASavedScene(case, logic) -> None:
    """A fused volume is the same after its scene was saved and loaded again."""
    referenceNode, otherNode = _smallPair()
    fusedNode = logic.fuse(referenceNode, otherNode, method=FASTEST, device="cpu")
    name, grid = fusedNode.GetName(), _grid(fusedNode)
    voxels = slicer.util.arrayFromVolume(fusedNode).copy()
    display = fusedNode.GetDisplayNode()
    window = (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel())
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "scene.mrb")
        case.assertTrue(slicer.util.saveScene(path))
        slicer.mrmlScene.Clear()
        slicer.util.loadScene(path)
        loaded = slicer.util.getNode(name)
        case.assertTrue(np.allclose(_grid(loaded)[1], grid[1], atol=1e-6))
        case.assertTrue(np.array_equal(slicer.util.arrayFromVolume(loaded), voxels))
        display = loaded.GetDisplayNode()
        found = (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel())
        case.assertEqual(found, window)
        case.assertEqual(loaded.GetVoxelVectorType(), loaded.VoxelVectorTypeColorRGB)
        case.assertEqual(loaded.GetAttribute("MedFusion.Method"), FASTEST)
        case.assertEqual(loaded.GetNodeReference("MedFusion.Other").GetName(), otherNode.GetName())
        slicer.mrmlScene.Clear()


def choicesComeBack(case, logic) -> None:
    """The panel's choices are the same after its scene was saved and loaded again."""
    slicer.util.selectModule("MedFusion")
    widget = slicer.util.getModuleWidget("MedFusion")
    names = [node.GetName() for node in _smallPair()]
    widget.initializeParameterNode()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "scene.mrb")
        case.assertTrue(slicer.util.saveScene(path))
        slicer.mrmlScene.Clear()
        slicer.util.loadScene(path)
    parameters = widget.logic.getParameterNode()
    chosen = (parameters.referenceVolume, parameters.otherVolume)
    case.assertEqual([node.GetName() for node in chosen], names)
    case.assertTrue(widget.ui.applyButton.enabled)
    slicer.mrmlScene.Clear()


def everyButtonHasItsPicture(case, logic) -> None:
    """The pictures that the buttons borrow are there in this version of Slicer."""
    slicer.util.selectModule("MedFusion")
    ui = slicer.util.getModuleWidget("MedFusion").ui
    for name in (*SLICER_ICONS, "applyButton", "logButton"):
        case.assertTrue(getattr(ui, name).icon.availableSizes(), name)


def keyboardReachesEverySelector(case, logic) -> None:
    """Tab and the captions' letters lead into the lists of nodes."""
    slicer.util.selectModule("MedFusion")
    ui = slicer.util.getModuleWidget("MedFusion").ui
    for name in SELECTORS:
        selector = getattr(ui, name)
        case.assertTrue(selector.focusProxy().inherits("QComboBox"), name)
        case.assertIsNone(selector.focusProxy().focusProxy(), name)
        case.assertTrue(selector.focusPolicy & qt.Qt.TabFocus, name)


def cancelledRun(case, logic) -> None:
    """A cancelled run leaves the scene as it was, and the next one works."""
    referenceNode, otherNode = _smallPair()
    count, errors = slicer.mrmlScene.GetNumberOfNodes(), []
    job = logic.fuseAsync(
        referenceNode, otherNode, method=FASTEST, device="cpu", onError=errors.append
    )
    job.cancel()
    _wait(case, lambda: not job.running)
    case.assertEqual([type(error) for error in errors], [Cancelled])
    case.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), count)
    case.assertIsNotNone(logic.fuse(referenceNode, otherNode, method=FASTEST, device="cpu"))


def closedScene(case, logic) -> None:
    """A scene that is closed in mid-run ends the run with a sentence and leaves no node."""
    referenceNode, otherNode = _smallPair()
    done, errors = [], []
    job = logic.fuseAsync(
        referenceNode,
        otherNode,
        method=FASTEST,
        device="cpu",
        onDone=lambda *result: done.append(result),
        onError=errors.append,
    )
    slicer.mrmlScene.Clear()
    _wait(case, lambda: not job.running)
    case.assertEqual(len(errors), 1)
    case.assertEqual(done, [])
    case.assertEqual(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"), [])


def stoppedProcess(case, logic) -> None:
    """Stopping in mid-run leaves neither a process nor a temporary file."""
    referenceNode, otherNode = _smallPair()
    errors = []
    job = logic.fuseAsync(
        referenceNode, otherNode, method=FASTEST, device="cpu", onError=errors.append
    )
    folder = logic.client.folder
    case.assertTrue(folder.is_dir())
    logic.stop()
    case.assertFalse(job.running)
    case.assertEqual([type(error) for error in errors], [Cancelled])
    case.assertFalse(folder.exists())


TESTS = (
    wholeWay,
    fusedVolumeSurvivesASavedScene,
    choicesComeBack,
    everyButtonHasItsPicture,
    keyboardReachesEverySelector,
    cancelledRun,
    closedScene,
    stoppedProcess,
)


def _smallPair():
    """The sample pair with every second voxel: as good for whatever is not about the result."""
    nodes = loadSamplePair()
    for node in nodes:
        voxels = slicer.util.arrayFromVolume(node)[::2, ::2, ::2].copy()
        slicer.util.updateVolumeFromArray(node, voxels)
        node.SetSpacing(*(2 * step for step in node.GetSpacing()))
    return nodes


def _grid(volumeNode) -> tuple[tuple[int, int, int], list[list[float]]]:
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return (
        volumeNode.GetImageData().GetDimensions(),
        slicer.util.arrayFromVTKMatrix(matrix).tolist(),
    )


def _wait(case, condition) -> None:
    end = time.monotonic() + SECONDS_TO_WAIT
    while not condition() and time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.01)
    case.assertTrue(condition())
