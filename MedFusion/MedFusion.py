"""MedFusion's Slicer module: what Slicer has to find here. All else is in the package MedFusionLib.

In Slicer's Python console::

    from MedFusion import MedFusionLogic
    fusedNode = MedFusionLogic().fuse(getNode("MR"), getNode("CT"), method="asfe")
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

# With a bare --additional-module-paths the package lies in the folder above, not beside this file.
_aboveModule = Path(__file__).resolve().parent.parent
if importlib.util.find_spec("MedFusionLib") is None and (
    (_aboveModule / "MedFusionLib" / "__init__.py").is_file()
):
    sys.path.append(str(_aboveModule))


class MedFusion(ScriptedLoadableModule):
    """What Slicer shows about the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("MedFusion")
        parent.categories = [translate("qSlicerAbstractCoreModule", "IGT")]
        parent.dependencies = []
        parent.contributors = ["MedFusion contributors"]
        parent.helpText = _(
            "<p>Fuses an MR volume with a CT, PET or SPECT volume of the same patient, slice by "
            "slice, into one volume on the grid of the MR. Research use only, not for "
            "diagnosis.</p>"
            "<ol><li>Choose the two volumes under <b>Inputs</b>, or let <b>Fuse study</b> find "
            "them among a patient's loaded volumes; the lines below say whose they are and how "
            "they lie to each other.</li>"
            "<li>Where they are not aligned, choose a registration or a transform as "
            "<b>Alignment</b>. <b>Landmarks</b> on both volumes start a registration and check "
            "any alignment. <b>Further volumes</b> are fused with these two into one.</li>"
            "<li>Choose a <b>Method</b>, look at a slice with <b>Preview</b>, and press "
            "<b>Apply</b>. <b>Result</b> says what is shown and how far it can be trusted.</li>"
            "<li><b>View</b> compares and blends the volumes and follows a tracked pointer; "
            "<b>Quality</b> shows metrics and saves a report or a DICOM series.</li>"
            "<li><b>Batch</b> fuses many pairs of the DICOM database, one after the other, into a "
            "folder.</li></ol>"
            "<p>The module Sample Data has a pair to try under MedFusion. Of Slicer's own samples, "
            "<b>CT-MR Brain</b> is a CT and MR pair of one head; register it first.</p>"
        )
        parent.acknowledgementText = _(
            "<p>The learned methods implement two papers; please cite the one that you use. "
            "ASFE-Fusion: X. Gu et al., <i>Biomedical Signal Processing and Control</i> "
            "96:106478, 2024. DM-FNet: D. He et al., <i>IEEE Transactions on Multimedia</i>, "
            "2025, arXiv:2506.15218.</p>"
            "<p>The sample pair is made from the ICBM 152 2009 template of the Montreal "
            "Neurological Institute, McGill University.</p>"
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Offer the bundled pair in the Sample Data module."""
    import SampleData

    from MedFusionLib.slicer_app.scene.sample_data import samplePair

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="MedFusion",
        sampleName=_("MR and PET pair"),
        thumbnailFileName=str(Path(__file__).with_name("Resources") / "Icons" / "MedFusion.png"),
        **samplePair(),
    )


class MedFusionWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel's life: from ``setup`` to ``cleanup``, through scenes that come and go."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None
        self._panelHeight = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self):
        """Called when the user opens the module the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from MedFusionLib.slicer_app.panel.panel import Panel
        from MedFusionLib.slicer_app.panel.panel_height import PanelHeight

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedFusion.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = MedFusionLogic()
        self.panel = Panel(self.ui, self.logic, self._loadFurtherRow)
        self._panelHeight = PanelHeight(uiWidget)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(
            slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.onSceneStartImport
        )
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        slicer.app.connect("aboutToQuit()", self.onAboutToQuit)
        self.initializeParameterNode()

    def _loadFurtherRow(self):
        """The widgets of one further volume: their root, and all by name."""
        row = slicer.util.loadUI(self.resourcePath("UI/FurtherVolume.ui"))
        row.setMRMLScene(slicer.mrmlScene)
        return row, slicer.util.childWidgetVariables(row)

    def cleanup(self):
        """Called when the application closes and the module widget is destroyed."""
        slicer.app.disconnect("aboutToQuit()", self.onAboutToQuit)
        self.setParameterNode(None)
        self.removeObservers()
        if self.panel is not None:
            self.panel.end()
            self._panelHeight.stop()

    def onAboutToQuit(self):
        """Leave no process and no temporary file behind."""
        self.panel.end()

    def enter(self):
        """Called each time the user opens this module."""
        self.initializeParameterNode()
        self.panel.askForDevices()

    def exit(self):
        """Called each time the user opens a different module."""
        self.panel.stopPreview()
        self._disconnectParameterNode()

    def onReload(self):
        """Reload the package too, so that a change in it is seen."""
        for name in [name for name in sys.modules if name.split(".")[0] == "MedFusionLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event):
        """Called just before the scene is closed."""
        self.panel.stop()
        self.setParameterNode(None)
        self.logic.forgetParameterNode()

    def onSceneEndClose(self, caller, event):
        """Called just after the scene is closed."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneStartImport(self, caller, event):
        """Called before a scene is loaded: its choices name nodes that are not there yet, which
        the selectors would answer with choosing none."""
        self.setParameterNode(None)
        self.logic.forgetParameterNode()

    def onSceneEndImport(self, caller, event):
        """Called after a scene was loaded."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Ensure that the parameter node exists and is observed."""
        parameters = self.logic.getParameterNode()
        isConnected = self._parameterNodeGuiTag is not None
        if not (isConnected and parameters is self._parameterNode):
            self.setParameterNode(parameters)
        self.logic.chooseInputs(self._parameterNode)

    def setParameterNode(self, inputParameterNode):
        """Set and observe the parameter node."""
        self._disconnectParameterNode()
        self._parameterNode = inputParameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
        if self.panel is not None:
            self.panel.setParameters(inputParameterNode)

    def _disconnectParameterNode(self):
        """Neither widgets nor panel react to the node any more, as while another module is open."""
        if self._parameterNode and self._parameterNodeGuiTag is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self.removeObserver(
                self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply
            )

    def _checkCanApply(self, caller=None, event=None):
        self.panel.refresh()


class MedFusionLogic(ScriptedLoadableModuleLogic):
    """Fuses volume nodes, in the console as in the panel.

    The work runs in a child process that stays alive until ``stop``. Example::

        logic = MedFusionLogic()
        fusedNode = logic.fuse(mrNode, ctNode, method="asfe")
        job = logic.fuseAsync(mrNode, petNode, onDone=lambda node, report: print(node.GetName()))
        job.cancel()
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        from MedFusionLib.slicer_app.running.worker_client import slicerClient

        self.client = slicerClient()
        self.devicesKnown = False
        self._parameters = None

    def getParameterNode(self):
        """The panel's choices in the present scene."""
        from MedFusionLib.slicer_app.panel.parameter_node import MedFusionParameterNode

        node = super().getParameterNode()
        # A wrapper never lets go of its node: one for each visit would make all changes slower.
        if self._parameters is None or self._parameters.parameterNode is not node:
            self._parameters = MedFusionParameterNode(node)
        return self._parameters

    def forgetParameterNode(self):
        """The scene is about to change: a wrapper does not see what a loaded scene writes into its
        node."""
        self._parameters = None

    @staticmethod
    def chooseInputs(parameters):
        """Choose the first two volumes by their modality, while none was chosen yet."""
        from MedFusionLib.slicer_app.scene.sample_data import firstPair

        chosen = (parameters.referenceVolume, parameters.otherVolume)
        if chosen == (None, None) and not parameters.inputsWereDeleted:
            parameters.referenceVolume, parameters.otherVolume = firstPair(slicer.mrmlScene)

    def ensureReady(self):
        """Install what is missing, after asking; raises a sentence when it is not wanted."""
        from MedFusionLib.slicer_app.running.torch_setup import ensureRequirements, ensureTorch

        if ensureTorch():
            # A process that was started before would not see what is new.
            self.stop()
        ensureRequirements(Path(__file__).with_name("Resources") / "requirements.txt")

    def fuse(self, referenceNode, otherNode, outputNode=None, **options):
        """Fuse two volumes, nodes or their names, and return the fused node; Slicer stays alive
        meanwhile.

        ``options`` are ``modalities``, ``windows``, ``transformNode``, ``landmarkNodes`` and
        ``score`` of ``FusionRequest``, and those of ``MedFusionLib.fuse`` (method, alignment,
        device, colour, plane...). ``further`` lists more volumes, nodes or names, or dictionaries
        with the settings of ``FurtherSource``::

            logic.fuse(mrNode, ctNode, further=[petNode, {"node": spectNode, "colour": "blue"}])

        Raises a ``MedFusionError`` or ``ValueError`` whose text is for the user.
        """
        job = self.fuseAsync(
            referenceNode, otherNode, outputNode, onProgress=self._showProgress, **options
        )
        try:
            return job.wait()
        finally:
            slicer.util.showStatusMessage("")

    @staticmethod
    def _showProgress(done, total, message):
        slicer.util.showStatusMessage(f"MedFusion: {message} {done}/{total}")

    def fuseAsync(
        self,
        referenceNode,
        otherNode,
        outputNode=None,
        onProgress=None,
        onDone=None,
        onError=None,
        **options,
    ):
        """Start a fusion and return its job at once; ``job.cancel()`` stops it.

        ``onProgress(done, total, message)``, then exactly one of ``onDone(fusedNode, report)`` and
        ``onError(error)``. ``options`` are those of ``fuse``.
        """
        from MedFusionLib.slicer_app.running.fusion_job import requestFor

        request = requestFor(referenceNode, otherNode, outputNode, **options)
        self.ensureReady()
        return self.fuseRequest(request, onProgress, onDone, onError)

    def fuseRequest(self, request, onProgress=None, onDone=None, onError=None):
        """Start the fusion that a ``FusionRequest`` describes."""
        from MedFusionLib.slicer_app.running.fusion_job import FusionJob

        return FusionJob(self.client, request, onProgress, onDone, onError)

    def describeDevices(self, onDone):
        """Ask the worker what it can run on; ``onDone`` gets ``devices`` and ``warning``."""
        self.devicesKnown = True
        self.client.submit("describe", {}, onDone=onDone)

    def exportDicom(self, fusedNode, report, folder, onDone=None, onError=None):
        """Write a fused node as a derived DICOM series into a new or empty folder."""
        from MedFusionLib.slicer_app.scene.dicom_sources import exportRequest

        volumes, values = exportRequest(fusedNode, report, folder)
        return self.client.submit("export_dicom", volumes, onDone=onDone, onError=onError, **values)

    def exportForNavigation(self, fusedNode, report, folder, onDone=None, onError=None):
        """Write a fused node as DICOM for a navigation system into a new or empty folder."""
        from MedFusionLib.slicer_app.scene.dicom_sources import navigationRequest

        volumes, values = navigationRequest(fusedNode, report, folder)
        return self.client.submit(
            "export_navigation", volumes, onDone=onDone, onError=onError, **values
        )

    def log(self):
        """The last lines of the child process's log."""
        return self.client.log

    def stop(self):
        """End the child process, whatever it does, and remove its files. It starts again by
        itself when it is needed."""
        self.client.close()


class MedFusionTest(ScriptedLoadableModuleTest):
    """Self-test, run inside Slicer; see ``MedFusionLib.slicer_app.self_test``."""

    def runTest(self):
        from MedFusionLib.slicer_app import self_test

        logic = MedFusionLogic()
        try:
            for test in self_test.TESTS:
                slicer.mrmlScene.Clear()
                self.delayDisplay(test.__doc__.splitlines()[0])
                test(self, logic)
                qt.QApplication.processEvents()
        finally:
            logic.stop()
            slicer.mrmlScene.Clear()
        self.delayDisplay(_("Test passed"))
