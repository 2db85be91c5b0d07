"""The panel with its real widgets, a real scene and the real worker process.

Only Slicer's application and its widget classes are stood in for; README.md says what that hides.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
QtWidgets = pytest.importorskip("PySide6.QtWidgets", reason="needs PySide6")

from MedFusionLib.sample_data import OTHER, REFERENCE  # noqa: E402
from MedFusionLib.slicer_app import choices  # noqa: E402
from MedFusionLib.slicer_app.panel.further_choice import FurtherChoice  # noqa: E402
from MedFusionLib.slicer_app.running.child_process import SubprocessChild  # noqa: E402
from MedFusionLib.slicer_app.running.worker_client import WorkerClient, workerCommand  # noqa: E402
from MedFusionLib.slicer_app.scene.mrml import addVolumeNode  # noqa: E402
from MedFusionLib.volumes.files import read_volume  # noqa: E402

SELECTORS = (
    "referenceSelector",
    "otherSelector",
    "transformSelector",
    "referenceLandmarksSelector",
    "otherLandmarksSelector",
    "outputSelector",
    "pointerSelector",
    "targetSelector",
    "trajectorySelector",
)
DEFAULTS = {
    "referenceVolume": None,
    "otherVolume": None,
    "referenceModality": choices.Modality.AUTOMATIC,
    "otherModality": choices.Modality.AUTOMATIC,
    "referenceWindow": choices.Window.AUTOMATIC,
    "otherWindow": choices.Window.AUTOMATIC,
    "alignment": choices.AlignmentChoice.RESAMPLE,
    "alignmentTransform": None,
    "referenceLandmarks": None,
    "otherLandmarks": None,
    "method": "average",
    "device": "cpu",
    "plane": choices.Plane.AXIAL,
    "planes": choices.Planes.ONE,
    "grid": choices.Grid.REFERENCE,
    "refinement": choices.Refinement.INTERPOLATION,
    "colour": choices.Colour.AUTOMATIC,
    "precision": "auto",
    "batchSize": 0,
    "allowNonfinite": False,
    "force": False,
    "score": True,
    "furtherVolumes": [],
    "outputVolume": None,
    "otherOpacity": 0.5,
    "blendOpacity": 0.5,
    "pointerTransform": None,
    "targetPoint": None,
    "trajectoryLine": None,
    "inputsWereDeleted": False,
}


SECONDS_TO_WAIT = 120.0
"""Far longer than any step takes, so that a busy computer does not matter."""


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

    def exportForNavigation(self, fusedNode, report, folder, onDone=None, onError=None):
        from MedFusionLib.slicer_app.scene.dicom_sources import navigationRequest

        volumes, values = navigationRequest(fusedNode, report, folder)
        self.client.submit("export_navigation", volumes, onDone=onDone, onError=onError, **values)

    def log(self):
        return self.client.log

    def stop(self):
        self.client.close()


class Parameters(types.SimpleNamespace):
    """Tells the selectors and the panel of each change, as the parameter node's wrapper does."""

    def __setattr__(self, name, value):
        isSame = self.__dict__.get(name) is value
        super().__setattr__(name, value)
        if name in self.__dict__.get("selectors", {}):
            self.selectors[name].setCurrentNode(value)
        if "panel" in self.__dict__ and not isSame:
            self.panel.refresh()

    furtherVolume = staticmethod(FurtherChoice)

    def connectGui(self, selectors):
        self.__dict__["selectors"] = selectors
        for name, selector in selectors.items():
            selector.currentNodeChanged.connect(lambda node, name=name: setattr(self, name, node))


class Fixture:
    """The panel with its widgets, and what a user does to them."""

    def __init__(self, panel, ui, logic, scene, application):
        self.panel, self.ui, self.logic, self.scene = panel, ui, logic, scene
        self._application = application
        self.parameters = Parameters(**DEFAULTS)
        self.selectors = {
            selector.property("SlicerParameterName"): selector
            for selector in (getattr(ui, name).widget for name in SELECTORS)
        }
        self.parameters.connectGui(self.selectors)
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
        sliceNode.SetMappedInLayout(1)
        compositeNode = slicer.vtkMRMLSliceCompositeNode()
        compositeNode.SetLayoutName("Red")
        self.scene.AddNode(compositeNode)
        slicer.app.views = loadStandIns().SliceViews(sliceNode, compositeNode)
        return sliceNode, compositeNode

    def choosePair(self):
        _, j, i = np.indices((12, 24, 28))
        noise = np.random.default_rng(3).integers(0, 50, i.shape)
        voxels = [(600 + 300 * np.sin(axis / 4) + noise).astype(np.int16) for axis in (i, j)]
        geometry = np.diag([1.0, 1.0, 1.1, 1.0])
        self.parameters.referenceVolume = slicer.util.addVolumeFromArray(voxels[0], name="T1")
        self.parameters.otherVolume = slicer.util.addVolumeFromArray(voxels[1], geometry, "FDG PET")

    def chooseSamplePair(self):
        """The bundled pair, thinned: the PET lies some 16 mm off the MR on purpose."""
        for field, file, name in (
            ("referenceVolume", REFERENCE, "T1"),
            ("otherVolume", OTHER, "FDG PET"),
        ):
            volume = read_volume(file)
            thinned = replace(
                volume,
                voxels=volume.voxels[::2, ::2, ::2].copy(),
                spacing=tuple(2 * step for step in volume.spacing),
            )
            setattr(self.parameters, field, addVolumeNode(self.scene, thinned, name))

    def tellPatient(self, node, name, identity, birthDate, studyDate):
        """Put a volume under a patient and a study, as Slicer's DICOM module does."""
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        names = slicer.vtkMRMLSubjectHierarchyConstants
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), name)
        study = hierarchy.CreateStudyItem(patient, studyDate)
        for item, attribute, value in (
            (patient, names.GetDICOMPatientNameAttributeName(), name),
            (patient, names.GetDICOMPatientIDAttributeName(), identity),
            (patient, names.GetDICOMPatientBirthDateAttributeName(), birthDate),
            (study, names.GetDICOMStudyDateAttributeName(), studyDate),
        ):
            hierarchy.SetItemAttribute(item, attribute, value)
        hierarchy.CreateItem(study, node)

    def wait(self, condition, seconds=SECONDS_TO_WAIT):
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
    selectors = root.findChildren(standIns.NodeSelector)
    for selector in selectors:
        selector.setMRMLScene(scene)
    rows = []

    def loadFurtherRow():
        row = standIns.Loader().load(
            str(repository / "MedFusion" / "Resources" / "UI" / "FurtherVolume.ui")
        )
        rows.append(row)
        for selector in row.findChildren(standIns.NodeSelector):
            selector.setMRMLScene(scene)
            selector.listAnew()
        return row, standIns.widgetVariables(row)

    panel = Panel(ui, logic, loadFurtherRow)
    yield Fixture(panel, ui, logic, scene, application)
    # As MedFusionWidget does when it is cleaned up.
    panel.setParameters(None)
    panel.end()
    for row in rows:
        selectors += row.findChildren(standIns.NodeSelector)
    for selector in selectors:
        selector.stopObserving()
    assert list(tmp_path.glob("medfusion-*")) == []
    # They hold this test's stand-in of qt.
    for path in (repository / "MedFusionLib" / "slicer_app").rglob("*.py"):
        if "\nimport qt\n" in path.read_text(encoding="utf-8"):
            module = path.relative_to(repository).with_suffix("")
            sys.modules.pop(".".join(module.parts), None)
    root.deleteLater()
