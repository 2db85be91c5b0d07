"""The panel's own code, pressed and watched: real widgets, real scene, real worker process.

Only Slicer's application and its widget classes are stood in for; README.md says what that hides.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import psutil
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
QtWidgets = pytest.importorskip("PySide6.QtWidgets", reason="needs PySide6")

from MedFusionLib.slicer_app import choices  # noqa: E402
from MedFusionLib.slicer_app.running.child_process import SubprocessChild  # noqa: E402
from MedFusionLib.slicer_app.running.worker_client import WorkerClient, workerCommand  # noqa: E402

DEFAULTS = {
    "referenceVolume": None,
    "otherVolume": None,
    "referenceModality": choices.Modality.AUTOMATIC,
    "otherModality": choices.Modality.AUTOMATIC,
    "referenceWindow": choices.Window.AUTOMATIC,
    "otherWindow": choices.Window.AUTOMATIC,
    "alignment": choices.AlignmentChoice.RESAMPLE,
    "alignmentTransform": None,
    "method": "average",
    "device": "cpu",
    "plane": choices.Plane.AXIAL,
    "colour": choices.Colour.AUTOMATIC,
    "precision": "auto",
    "batchSize": 0,
    "allowNonfinite": False,
    "force": False,
    "score": True,
    "outputVolume": None,
    "blendOpacity": 0.5,
    "pointerTransform": None,
}


def loadStandIns():
    spec = importlib.util.spec_from_file_location(
        "stand_ins", Path(__file__).with_name("stand_ins.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Logic:
    """What the panel asks of MedFusionLogic, with the transport that works outside Slicer."""

    def __init__(self):
        self.client = WorkerClient(SubprocessChild, workerCommand())
        self.devicesKnown = False

    def ensureReady(self):
        pass

    def fuseRequest(self, request, *callbacks):
        from MedFusionLib.slicer_app.running.fusion_job import FusionJob

        return FusionJob(self.client, request, *callbacks)

    def describeDevices(self, onDone):
        self.client.submit("describe", {}, onDone=onDone)

    def exportDicom(self, fusedNode, report, folder, onDone=None, onError=None):
        from MedFusionLib.slicer_app.scene.dicom_sources import exportRequest

        volumes, values = exportRequest(fusedNode, report, folder)
        self.client.submit("export_dicom", volumes, onDone=onDone, onError=onError, **values)

    def log(self):
        return self.client.log

    def stop(self):
        self.client.close()


class Parameters(types.SimpleNamespace):
    """Tells the panel of each change, as the observer of the parameter node does."""

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if "panel" in self.__dict__:
            self.panel.refresh()


class Fixture:
    """The panel with its widgets, and what a user does to them."""

    def __init__(self, panel, ui, logic, scene, application):
        self.panel, self.ui, self.logic, self.scene = panel, ui, logic, scene
        self._application = application
        self.parameters = Parameters(**DEFAULTS)
        self.parameters.panel = panel
        panel.setParameters(self.parameters)

    def addRedView(self):
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        sliceNode = self.scene.CreateNodeByClass("vtkMRMLSliceNode")
        sliceNode.UnRegister(None)
        sliceNode.SetLayoutName("Red")
        sliceNode = self.scene.AddNode(sliceNode)
        sliceNode.SetOrientation("Axial")
        sliceNode.SetSliceOffset(5.0)
        compositeNode = self.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
        slicer.app.views = loadStandIns().SliceViews(sliceNode, compositeNode)
        return sliceNode, compositeNode

    def choosePair(self):
        _, j, i = np.indices((12, 24, 28))
        noise = np.random.default_rng(3).integers(0, 50, i.shape)
        voxels = [(600 + 300 * np.sin(axis / 4) + noise).astype(np.int16) for axis in (i, j)]
        geometry = np.diag([1.0, 1.0, 1.1, 1.0])
        self.parameters.referenceVolume = slicer.util.addVolumeFromArray(voxels[0], name="T1")
        self.parameters.otherVolume = slicer.util.addVolumeFromArray(voxels[1], geometry, "FDG PET")

    def wait(self, condition, seconds=40.0):
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            self._application.processEvents()
            self.logic.client.processEvents(0.02)
        assert condition()

    def apply(self):
        self.ui.applyButton.click()

    def applyAndWait(self):
        self.apply()
        self.wait(lambda: self.ui.applyButton.text == "&Apply")


@pytest.fixture
def panel(repository, monkeypatch, tmp_path):
    standIns = loadStandIns()
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setitem(sys.modules, "qt", standIns.qtModule())
    monkeypatch.setattr(slicer, "app", standIns.Application(), raising=False)
    monkeypatch.setattr(slicer, "modules", types.SimpleNamespace(), raising=False)
    monkeypatch.setattr(
        slicer.util, "tryWithErrorDisplay", standIns.tryWithErrorDisplay, raising=False
    )
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
    scene = slicer.vtkMRMLScene()
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    colours = slicer.vtkMRMLColorLogic()
    colours.SetMRMLScene(scene)
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    root = standIns.Loader().load(
        str(repository / "MedFusion" / "Resources" / "UI" / "MedFusion.ui")
    )
    from MedFusionLib.slicer_app.panel.panel import Panel

    ui, logic = standIns.widgetVariables(root), Logic()
    yield Fixture(Panel(ui, logic), ui, logic, scene, application)
    logic.stop()
    assert list(tmp_path.glob("medfusion-*")) == []
    # They hold this test's stand-in of qt.
    for path in (repository / "MedFusionLib" / "slicer_app").rglob("*.py"):
        if "\nimport qt\n" in path.read_text(encoding="utf-8"):
            module = path.relative_to(repository).with_suffix("")
            sys.modules.pop(".".join(module.parts), None)
    root.deleteLater()


def test_apply_says_what_is_missing_until_two_volumes_are_chosen(panel):
    assert not panel.ui.applyButton.enabled
    assert "reference volume" in panel.ui.applyButton.toolTip
    panel.choosePair()
    assert panel.ui.applyButton.enabled
    assert "other grid" in panel.ui.relationLabel.text
    assert "guessed from 'fdg'" in panel.ui.otherModalityLabel.text


def test_apply_becomes_cancel_and_then_the_fused_volume_is_the_output(panel):
    panel.choosePair()
    panel.apply()
    assert panel.ui.applyButton.text == "&Cancel"
    assert not panel.ui.inputsCollapsibleButton.enabled
    panel.wait(lambda: panel.ui.applyButton.text == "&Apply")
    fused = panel.parameters.outputVolume
    assert fused.IsA("vtkMRMLVectorVolumeNode")
    assert "Done in" in panel.ui.progressLabel.text
    assert "volume is not certain: PET, guessed from" in panel.ui.warningsLabel.text
    assert "SSIM" in panel.ui.qualityLabel.text
    assert panel.ui.showPlotButton.enabled
    panel.applyAndWait()
    assert panel.parameters.outputVolume is fused


def test_a_cancelled_run_gives_the_panel_and_the_scene_back(panel):
    panel.choosePair()
    count = panel.scene.GetNumberOfNodes()
    panel.apply()
    panel.apply()
    assert panel.ui.applyButton.text == "&Cancel now"
    panel.wait(lambda: panel.ui.applyButton.text == "&Apply")
    assert "cancelled" in panel.ui.progressLabel.text
    assert panel.scene.GetNumberOfNodes() == count
    assert panel.ui.inputsCollapsibleButton.enabled


def test_a_second_cancel_stops_the_process_and_gives_the_panel_back_at_once(panel):
    panel.choosePair()
    panel.apply()
    for _ in range(2):
        panel.apply()
    assert panel.ui.applyButton.text == "&Apply"
    assert "cancelled" in panel.ui.progressLabel.text
    panel.applyAndWait()


def test_a_killed_process_gives_one_sentence_and_the_next_run_works(panel):
    panel.choosePair()
    panel.apply()
    panel.wait(lambda: panel.logic.client.processId)
    psutil.Process(panel.logic.client.processId).kill()
    panel.wait(lambda: panel.ui.applyButton.text == "&Apply")
    assert "memory ran out" in panel.ui.progressLabel.text
    panel.applyAndWait()
    assert "Done in" in panel.ui.progressLabel.text


def test_the_panel_sees_that_a_volume_was_moved(panel):
    panel.choosePair()
    transform = panel.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    panel.parameters.otherVolume.SetAndObserveTransformNodeID(transform.GetID())
    far = np.eye(4)
    far[0, 3] = 900
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(far))
    panel.wait(lambda: panel.ui.relationLabel.text == "No overlap.", 5)
    assert not panel.ui.applyButton.enabled


def test_closing_the_scene_in_mid_run_leaves_no_process_and_no_file(panel, tmp_path):
    panel.choosePair()
    panel.apply()
    panel.wait(lambda: panel.logic.client.processId)
    process = psutil.Process(panel.logic.client.processId)
    panel.panel.stop()
    panel.panel.setParameters(None)
    panel.scene.Clear(0)
    psutil.wait_procs([process], timeout=5)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert list(tmp_path.glob("medfusion-*")) == []
    assert panel.scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0


def test_devices_report_and_series_come_from_the_worker(panel, tmp_path):
    panel.choosePair()
    panel.panel.askForDevices()
    panel.wait(lambda: panel.ui.deviceComboBox.count > 1)
    assert panel.ui.deviceComboBox.itemText(1) == "CPU"
    panel.applyAndWait()
    panel.panel.quality.saveReport(tmp_path / "report.html")
    panel.wait(lambda: "Saved" in panel.ui.qualityLabel.text)
    assert "average" in (tmp_path / "report.html").read_text(encoding="utf-8")
    panel.panel.quality.exportDicom(tmp_path / "series")
    panel.wait(lambda: "Exported 12 images" in panel.ui.qualityLabel.text)
    assert len(list((tmp_path / "series").iterdir())) == 12


def test_without_a_slice_view_the_preview_says_so(panel):
    panel.choosePair()
    panel.ui.previewButton.click()
    assert "no red slice view" in panel.ui.previewLabel.text


def test_the_live_preview_follows_the_view_and_the_choices_and_leaves_nothing(panel):
    panel.choosePair()
    sliceNode, compositeNode = panel.addRedView()
    count = panel.scene.GetNumberOfNodes()
    panel.ui.livePreviewCheckBox.click()
    panel.wait(lambda: "slice fused in" in panel.ui.previewLabel.text)
    layer = compositeNode.GetForegroundVolumeID()
    first = slicer.util.arrayFromVolume(panel.scene.GetNodeByID(layer)).copy()
    panel.ui.previewLabel.text = ""
    sliceNode.SetSliceOffset(8.0)
    panel.wait(lambda: "slice fused in" in panel.ui.previewLabel.text)
    second = slicer.util.arrayFromVolume(panel.scene.GetNodeByID(layer)).copy()
    assert not np.array_equal(first, second)
    panel.ui.previewLabel.text = ""
    panel.parameters.method = "maximum"
    panel.wait(lambda: "slice fused in" in panel.ui.previewLabel.text)
    third = panel.scene.GetNodeByID(compositeNode.GetForegroundVolumeID())
    assert not np.array_equal(slicer.util.arrayFromVolume(third), second)
    panel.ui.livePreviewCheckBox.click()
    assert compositeNode.GetForegroundVolumeID() is None
    assert panel.scene.GetNumberOfNodes() == count


def test_the_slice_views_follow_the_chosen_pointer(panel):
    panel.choosePair()
    sliceNode, _ = panel.addRedView()
    pointer = panel.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Pointer")
    assert not panel.ui.followPointerCheckBox.enabled
    panel.applyAndWait()
    panel.parameters.pointerTransform = pointer
    panel.ui.followPointerCheckBox.click()
    tip = np.eye(4)
    tip[:3, 3] = (10.0, 8.0, 6.25)
    pointer.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(tip))
    assert sliceNode.GetSliceOffset() == pytest.approx(6.25, abs=0.01)
    assert "Inside, 5.2 mm from the border" in panel.ui.distanceLabel.text
    panel.panel.stop()
    assert not pointer.HasObserver(slicer.vtkMRMLTransformNode.TransformModifiedEvent)
    assert not panel.ui.followPointerCheckBox.checked
