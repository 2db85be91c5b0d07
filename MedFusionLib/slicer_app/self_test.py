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

from MedFusionLib.errors import Cancelled, InputError
from MedFusionLib.slicer_app.choices import AlignmentChoice
from MedFusionLib.slicer_app.panel.icons import SLICER_ICONS
from MedFusionLib.slicer_app.panel.panel import SELECTORS
from MedFusionLib.slicer_app.scene.hidden_node import HIDDEN_ROLE
from MedFusionLib.slicer_app.scene.provenance import sourcesOf
from MedFusionLib.slicer_app.scene.sample_data import loadSamplePair
from MedFusionLib.slicer_app.views.layers import layersOf

FASTEST = "average"
SECONDS_TO_WAIT = 120.0


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


def deletedNodesLeaveNothingChosen(case, logic) -> None:
    """A deleted volume leaves none chosen in its place, and no other volume is written to."""
    widget, parameters, bystander = _chosenPair()
    _apply(case, widget)
    fused, values = parameters.outputVolume, slicer.util.arrayFromVolume(bystander).copy()
    case.assertIs(widget.ui.outputSelector.currentNode(), fused)
    slicer.mrmlScene.RemoveNode(fused)
    case.assertIsNone(parameters.outputVolume)
    case.assertIsNone(widget.ui.outputSelector.currentNode())
    fields = {"otherVolume": "otherSelector", "referenceVolume": "referenceSelector"}
    for field, selector in fields.items():
        slicer.mrmlScene.RemoveNode(getattr(parameters, field))
        case.assertIsNone(getattr(parameters, field), field)
        case.assertIsNone(getattr(widget.ui, selector).currentNode(), selector)
        case.assertFalse(widget.ui.applyButton.enabled)
    slicer.util.selectModule("Data")
    slicer.util.selectModule("MedFusion")
    case.assertIsNone(widget.logic.getParameterNode().referenceVolume)
    case.assertTrue(np.array_equal(slicer.util.arrayFromVolume(bystander), values))


def anotherInputMakesANewVolume(case, logic) -> None:
    """Another patient's fusion never goes into the volume of the one before."""
    widget, parameters, bystander = _chosenPair()
    _apply(case, widget)
    first, name = parameters.outputVolume, parameters.outputVolume.GetName()
    parameters.referenceVolume = bystander
    case.assertIsNone(parameters.outputVolume)
    _apply(case, widget)
    case.assertIsNot(parameters.outputVolume, first)
    case.assertEqual(first.GetName(), name)
    case.assertIn(bystander.GetName(), parameters.outputVolume.GetName())


def deletedPointerStopsNavigation(case, logic) -> None:
    """A deleted pointer is followed no more, and no other transform in its place."""
    widget, parameters, _bystander = _chosenPair()
    pointer, _other = (
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
        for name in ("Pointer", "Other")
    )
    parameters.pointerTransform = pointer
    widget.ui.followPointerCheckBox.checked = True
    slicer.mrmlScene.RemoveNode(pointer)
    case.assertFalse(widget.ui.followPointerCheckBox.checked)
    case.assertIsNone(widget.ui.pointerSelector.currentNode())
    case.assertIn("deleted", widget.ui.distanceLabel.text)


def blendNeedsNoFusion(case, logic) -> None:
    """Reference and other are blended before any run; pressed again, the views are as before."""
    widget, parameters, bystander = _chosenPair()
    slicer.util.setSliceViewerLayers(background=bystander, foreground=None, fit=True)
    before = _redView()
    widget.ui.blendButton.click()
    case.assertEqual(len(_redView()[-1]), 2)
    parameters.otherOpacity = 0.25
    case.assertEqual(_redView()[-1][1][1], 0.25)
    widget.ui.blendButton.click()
    slicer.app.processEvents()
    case.assertEqual(_redView(), before)


def navigationIsToldAndLeft(case, logic) -> None:
    """Tracking, target and trajectory are told; outside and lost cannot be overlooked; what was
    deleted is gone; leaving gives the views back."""
    widget, parameters, _bystander = _chosenPair()
    _apply(case, widget)
    slicer.app.processEvents()
    before = _redView()
    ui, addNode = widget.ui, slicer.mrmlScene.AddNewNodeByClass
    pointer, target, line = (
        addNode(name)
        for name in (
            *("vtkMRMLLinearTransformNode", "vtkMRMLMarkupsFiducialNode"),
            "vtkMRMLMarkupsLineNode",
        )
    )
    target.AddControlPoint(0, 0, 10)
    line.AddControlPoint(3, 0, 50)
    line.AddControlPoint(3, 0, 10)
    parameters.pointerTransform, parameters.targetPoint = pointer, target
    parameters.trajectoryLine = line
    ui.navigateButton.click()
    _move(pointer, 0, 0, 30)
    ui.followPointerCheckBox.checked = True
    for words in ("Tracked", "20.0 mm away", "3.0 mm beside it, 20.0 mm deep"):
        case.assertIn(words, ui.distanceLabel.text)
    _move(pointer, 0, 0, 900)
    case.assertIn("OUTSIDE", ui.alarmLabel.text)
    pointer.SetAttribute("TransformStatus", "MISSING")
    _move(pointer, 0, 0, 30)
    case.assertIn("LOST", ui.alarmLabel.text)
    slicer.mrmlScene.RemoveNode(target)
    case.assertIsNone(parameters.targetPoint)
    case.assertIsNone(ui.targetSelector.currentNode())
    case.assertIn("target was deleted", ui.distanceLabel.text)
    ui.navigateButton.click()
    slicer.app.processEvents()
    case.assertEqual(_redView(), before)
    case.assertFalse(ui.followPointerCheckBox.checked)


def resultComesBeforeItsMeasures(case, logic) -> None:
    """The fused volume is shown at once; some of its slices are measured afterwards, and what is
    hidden is laid over it when it is asked for."""
    widget, parameters, _bystander = _chosenPair()
    parameters.score = True
    _apply(case, widget)
    case.assertIn(parameters.outputVolume.GetName(), widget.ui.resultLabel.text)
    case.assertFalse(widget.ui.showPlotButton.enabled)
    _wait(case, lambda: widget.ui.showPlotButton.enabled)
    case.assertIn("Measured on", widget.ui.qualityLabel.text)
    widget.ui.showHiddenButton.click()
    _wait(case, lambda: parameters.outputVolume.GetNodeReference(HIDDEN_ROLE) is not None)
    view = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    shown = parameters.outputVolume.GetNodeReferenceID(HIDDEN_ROLE)
    case.assertEqual(view.GetForegroundVolumeID(), shown)


def headsApartAreTold(case, logic) -> None:
    """The sample pair, which is filed displaced, is told to lie apart; one click registers it, and
    one more uses the found transform."""
    widget, parameters, _bystander = _chosenPair()
    _wait(case, lambda: widget.ui.registerButton.visible)
    widget.ui.registerButton.click()
    case.assertIs(parameters.alignment, AlignmentChoice.RIGID)
    _apply(case, widget)
    case.assertIn("registration", widget.ui.resultLabel.text)
    widget.ui.useTransformButton.click()
    case.assertIs(parameters.alignment, AlignmentChoice.TRANSFORM)
    case.assertTrue(widget.ui.previewButton.enabled)
    _apply(case, widget)
    case.assertIn("transform", widget.ui.resultLabel.text)


def whatCannotBeFusedIsSaid(case, logic) -> None:
    """An empty or flat volume disables Apply with its reason; the console gets a sentence."""
    widget, parameters, bystander = _chosenPair()
    for arguments in ((None, bystander), (bystander, bystander), ("no such volume", bystander)):
        with case.assertRaises(InputError):
            logic.fuse(*arguments)
    with case.assertRaises(InputError):
        logic.fuse(parameters.referenceVolume, bystander, colour_map="hot")
    parameters.otherVolume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    case.assertFalse(widget.ui.applyButton.enabled)
    case.assertIn("no voxels", widget.ui.warningsLabel.text)


def aStudyIsHung(case, logic) -> None:
    """Fuse study finds the pair of one patient, and never one of two patients."""
    widget, parameters, bystander = _chosenPair()
    pair = (parameters.referenceVolume, parameters.otherVolume)
    parameters.referenceVolume = parameters.otherVolume = None
    _assign("A1", *pair)
    _assign("B2", bystander)
    widget.ui.studyButton.click()
    case.assertIsNone(parameters.referenceVolume)
    ofOne, ofTwo = widget.panel.study._menu.actions()
    widget.panel.study._menu.close()
    ofTwo.trigger()
    case.assertIsNone(parameters.otherVolume)
    case.assertIn("Nothing was chosen", widget.ui.studyLabel.text)
    ofOne.trigger()
    case.assertEqual((parameters.referenceVolume, parameters.otherVolume), pair)
    case.assertIn("Chosen", widget.ui.studyLabel.text)


def furtherVolumeIsFusedAndLetGo(case, logic) -> None:
    """A third volume is fused and named; deleted, it is chosen no more, and no other instead."""
    widget, parameters, third = _chosenPair()
    pair = (parameters.referenceVolume, parameters.otherVolume)
    slicer.modules.volumes.logic().CloneVolume(third, "Bystander")
    widget.ui.addFurtherButton.click()
    case.assertFalse(widget.ui.applyButton.enabled)
    (selector,) = widget.panel.further.selectors
    selector.setCurrentNode(third)
    _apply(case, widget)
    fused = parameters.outputVolume
    case.assertEqual(sourcesOf(fused), (*pair, third))
    again = logic.fuse(*pair, further=[third], method=FASTEST, device="cpu")
    same = np.array_equal(*(slicer.util.arrayFromVolume(node) for node in (fused, again)))
    case.assertTrue(same)
    slicer.mrmlScene.RemoveNode(third)
    case.assertIsNone(selector.currentNode())
    case.assertFalse(widget.ui.applyButton.enabled)
    slicer.mrmlScene.Clear()
    case.assertEqual(widget.panel.further.selectors, [])


TESTS = (
    aStudyIsHung,
    deletedNodesLeaveNothingChosen,
    anotherInputMakesANewVolume,
    furtherVolumeIsFusedAndLetGo,
    deletedPointerStopsNavigation,
    blendNeedsNoFusion,
    navigationIsToldAndLeft,
    resultComesBeforeItsMeasures,
    headsApartAreTold,
    whatCannotBeFusedIsSaid,
    wholeWay,
    fusedVolumeSurvivesASavedScene,
    choicesComeBack,
    everyButtonHasItsPicture,
    keyboardReachesEverySelector,
    cancelledRun,
    closedScene,
    stoppedProcess,
)


def _chosenPair():
    """The module with the small pair chosen, its parameter node, and another patient's volume."""
    slicer.util.selectModule("MedFusion")
    widget = slicer.util.getModuleWidget("MedFusion")
    referenceNode, otherNode = _smallPair()
    bystander = slicer.modules.volumes.logic().CloneVolume(referenceNode, "Next patient MR")
    widget.initializeParameterNode()
    parameters = widget.logic.getParameterNode()
    parameters.referenceVolume, parameters.otherVolume = referenceNode, otherNode
    parameters.method, parameters.device = FASTEST, "cpu"
    # Measuring takes longer than all else; one test asks for it.
    parameters.score = False
    return widget, parameters, bystander


def _assign(patientId, *nodes) -> None:
    """Put volumes under a patient of the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    subject = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), patientId)
    attribute = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMPatientIDAttributeName()
    hierarchy.SetItemAttribute(subject, attribute, patientId)
    for node in nodes:
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), subject)


def _apply(case, widget) -> None:
    case.assertTrue(widget.ui.applyButton.enabled, widget.ui.applyButton.toolTip)
    widget.ui.applyButton.click()
    _wait(case, lambda: not widget.panel.run.running)
    case.assertIn("Done in", widget.ui.progressLabel.text)


def _redView() -> tuple:
    """Place, zoom and layers of the red view."""
    sliceWidget = slicer.app.layoutManager().sliceWidget("Red")
    sliceNode = sliceWidget.mrmlSliceNode()
    return (
        slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS()).round(6).tolist(),
        [round(size, 6) for size in sliceNode.GetFieldOfView()],
        [one for one in layersOf(sliceWidget.mrmlSliceCompositeNode()) if one[0]],
    )


def _move(pointer, right: float, front: float, up: float) -> None:
    matrix = vtk.vtkMatrix4x4()
    for row, millimetres in enumerate((right, front, up)):
        matrix.SetElement(row, 3, millimetres)
    pointer.SetMatrixTransformToParent(matrix)


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
