"""The panel's sections brought together with the rules.

``MedFusionWidget`` owns one Panel from ``setup`` to ``cleanup``. What the widgets show is decided
in ``panel.state``; what the buttons do is in the files of the sections.
"""

from __future__ import annotations

from collections.abc import Callable

import qt

from MedFusionLib.registration.quick_check import APART
from MedFusionLib.slicer_app.choices import AlignmentChoice, Grid, Planes
from MedFusionLib.slicer_app.panel.batch import BatchSection
from MedFusionLib.slicer_app.panel.chosen_nodes import ChosenNodes
from MedFusionLib.slicer_app.panel.devices import DeviceSection
from MedFusionLib.slicer_app.panel.further import FurtherSection
from MedFusionLib.slicer_app.panel.further_choice import chosenSources, usedTransforms
from MedFusionLib.slicer_app.panel.grid_rules import (
    planesToolTip,
    refinementToolTip,
    seesVolumes,
    usedPlanes,
)
from MedFusionLib.slicer_app.panel.icons import setIcons
from MedFusionLib.slicer_app.panel.in_sight import bringIntoSight
from MedFusionLib.slicer_app.panel.inputs import (
    ChosenInputs,
    chosenOptions,
    chosenPlaces,
    chosenRequest,
)
from MedFusionLib.slicer_app.panel.landmarks import LandmarkSection
from MedFusionLib.slicer_app.panel.methods import MethodSection
from MedFusionLib.slicer_app.panel.moved_nodes import MovedNodes
from MedFusionLib.slicer_app.panel.node_selectors import letKeyboardReach
from MedFusionLib.slicer_app.panel.position_check import PositionCheck
from MedFusionLib.slicer_app.panel.preview import PreviewSection
from MedFusionLib.slicer_app.panel.quality import SAMPLED_SLICES, QualitySection
from MedFusionLib.slicer_app.panel.result import ResultSection
from MedFusionLib.slicer_app.panel.run import RunSection
from MedFusionLib.slicer_app.panel.state import REGISTERING, PanelState, panelState
from MedFusionLib.slicer_app.panel.statements import asHtml, inputStatements
from MedFusionLib.slicer_app.panel.study import StudySection
from MedFusionLib.slicer_app.panel.texts import lookingText
from MedFusionLib.slicer_app.panel.views import ViewSection
from MedFusionLib.slicer_app.running.fusion_job import FusionRequest
from MedFusionLib.slicer_app.scene.provenance import recordMeasures, sourcesOf

MILLISECONDS_TO_LAY_OUT = 300
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


class Panel:
    """Connects the widgets of ``MedFusion.ui``; ``stop`` ends whatever runs and lets go.

    ``loadFurtherRow()`` makes the widgets of ``FurtherVolume.ui``: their root, and all by name.
    """

    def __init__(self, ui, logic, loadFurtherRow: Callable) -> None:
        self.ui = ui
        self.logic = logic
        self._parameters = None
        self._sources: tuple = (None, None)
        self._refreshIsDue = False
        self._checked: dict | None = None
        self._checkedFurther: list[dict | None] = []
        self._inputs = ChosenInputs()
        self._moved = MovedNodes(self._onMoved)
        self._placed = MovedNodes(self.refresh)
        self.further = FurtherSection(ui, logic.client, loadFurtherRow, self.refresh)
        self.chosen = ChosenNodes(ui, self._onNodeRemoved, lambda: self.further.selectors)
        self.methods = MethodSection(ui)
        self.devices = DeviceSection(ui, logic, self.refresh)
        self.preview = PreviewSection(ui, logic.client, self.request)
        self.run = RunSection(ui, logic, self.request, self._onStart, self._onFused, self.refresh)
        self.position = PositionCheck(logic.client, self.refresh)
        self.result = ResultSection(
            ui, lambda: self.quality.isMeasuring, self.further.useTransforms
        )
        self.views = ViewSection(ui, lambda: self.result.node, self.request)
        self.landmarks = LandmarkSection(ui, self.views.leaveAll, self.refresh)
        self.quality = QualitySection(ui, logic, lambda: self.result.node, self.refresh)
        self.study = StudySection(ui)
        self.batch = BatchSection(ui, logic.client, logic.ensureReady)
        ui.registerButton.connect("clicked()", self.onRegisterButton)
        setIcons(ui)
        for name in SELECTORS:
            letKeyboardReach(getattr(ui, name))

    def setParameters(self, parameters) -> None:
        """Use another parameter node, or none while the scene closes."""
        self._parameters = parameters
        self._sources = self._chosenSources()
        self.run.clearText()
        self.stopPreview()
        sections = (self.chosen, self.devices, self.result, self.views, self.quality, self.further)
        for section in (*sections, self.study, self.batch, self.methods, self.landmarks):
            section.setParameters(parameters)
        self.refresh()

    def _chosenSources(self) -> tuple:
        return chosenSources(self._parameters) if self._parameters else (None, None)

    def request(self) -> FusionRequest:
        """The fusion that is chosen in the panel."""
        return chosenRequest(self._parameters)

    def refresh(self) -> None:
        """Show what the rules say for what is chosen now."""
        parameters = self._parameters
        if parameters is None:
            return
        self._leaveOutputOfOthers()
        self.further.showChosen()
        self.chosen.offerInputs()
        found, *foundFurther = self.result.foundTransforms or (None,)
        options = chosenOptions(
            parameters, self.devices.warning, found is not None, self._apart(), self._looked()
        )
        inputs = self._inputs(parameters, self.further.found(), foundFurther)
        state = panelState(inputs, options, self.run.state)
        self._watchPosition(state)
        self._moved.watch(
            *self._chosenSources(), parameters.alignmentTransform, *usedTransforms(parameters)
        )
        self._placed.watch(parameters.referenceLandmarks, parameters.otherLandmarks)
        self._show(state)
        self.run.question = state.question
        self.devices.showChosen()
        self.methods.showChosen()
        self.preview.show(state)
        for section in (self.result, self.views, self.quality, self.study, self.landmarks):
            section.refresh()

    def _apart(self) -> str | None:
        check = self.position.report
        return check["sentence"] if check is not None and check["verdict"] == APART else None

    def _looked(self) -> str | None:
        if self.position.isLooking:
            return lookingText()
        check = self.position.report
        return check["sentence"] if check is not None and check["verdict"] != APART else None

    def _watchPosition(self, state: PanelState) -> None:
        """Look at volumes that will be fused as they lie, while nothing else is done."""
        parameters = self._parameters
        isSeen = state.missing is None and parameters.alignment not in REGISTERING
        if self.run.running or not isSeen:
            self.position.stop()
        else:
            self.position.watch(chosenPlaces(parameters), self.request)
        self.further.look(state.missing is None and not self.run.running)

    def _leaveOutputOfOthers(self) -> None:
        """Other inputs make a new volume; who wants to write into the old one picks it again."""
        sources = self._chosenSources()
        if sources == self._sources:
            return
        self._sources = sources
        output = self._parameters.outputVolume
        if output is not None and sourcesOf(output) != sources:
            self._parameters.outputVolume = None
            self.run.clearText()

    def _show(self, state: PanelState) -> None:
        ui = self.ui
        ui.applyButton.enabled, ui.applyButton.text = state.applyEnabled, state.applyText
        ui.applyButton.toolTip = state.applyToolTip
        buttons = (ui.inputsCollapsibleButton, ui.landmarksCollapsibleButton)
        more = (ui.furtherCollapsibleButton, ui.optionsCollapsibleButton)
        for section in (*buttons, *more):
            section.enabled = state.inputsEnabled
        self.further.showTexts(state.furtherTexts)
        isTransform = self._parameters.alignment is AlignmentChoice.TRANSFORM
        ui.transformLabel.visible = ui.transformSelector.visible = isTransform
        _say(ui.relationLabel, state.relationText)
        _say(ui.referenceModalityLabel, state.referenceText)
        _say(ui.otherModalityLabel, state.otherText)
        ui.registerButton.visible = state.registerOffered
        ui.methodDescriptionLabel.text = ui.methodComboBox.toolTip = state.methodText
        self._showGrid(state.gridText)
        _say(ui.warningsLabel, asHtml(inputStatements(state.missing, state.warnings)))

    def _showGrid(self, text: str) -> None:
        """Allow what applies to the chosen method and grid; tell how much comes out."""
        ui, parameters = self.ui, self._parameters
        method, grid = parameters.method, parameters.grid
        ui.planesComboBox.enabled = not seesVolumes(method)
        ui.planesComboBox.toolTip = planesToolTip(method)
        ui.planeComboBox.enabled = usedPlanes(method, parameters.planes) is Planes.ONE
        ui.refinementComboBox.enabled = grid is not Grid.REFERENCE
        ui.refinementComboBox.toolTip = refinementToolTip(grid)
        _say(ui.gridTextLabel, text)

    def _onMoved(self) -> None:
        self.refresh()
        self.preview.renew()

    def _onNodeRemoved(self, names: tuple[str, ...], node) -> None:
        """A node is about to leave the scene, and nobody has chosen it any more."""
        self.result.forget(node)
        self.views.onDeleted(names)
        self.landmarks.forget(node)
        if names:
            self.refresh()
        if not self._refreshIsDue:
            # What refers to the node does so until it is gone.
            self._refreshIsDue = True
            qt.QTimer.singleShot(0, self._refreshLater)

    def _refreshLater(self) -> None:
        self._refreshIsDue = False
        self.refresh()

    def onRegisterButton(self) -> None:
        """Register before the next fusion."""
        self._parameters.alignment = AlignmentChoice.RIGID

    def askForDevices(self) -> None:
        """Let the worker say what it can run on; the panel goes on meanwhile."""
        self.devices.ask()

    def stopPreview(self) -> None:
        """Take the fused slice away from its view."""
        self.preview.stop()

    def _onStart(self) -> None:
        self.stopPreview()
        self.quality.stopMeasuring()
        self.landmarks.stopPlacing()
        # What was found belongs to the result, whatever is looked at afterwards.
        isSeen = self._parameters.alignment not in REGISTERING
        self._checked = self.position.report if isSeen else None
        self._checkedFurther = self.further.reports()

    def _onFused(self, fusedNode, report) -> None:
        parameters = self._parameters
        if parameters is None:
            return
        checks = (self._checked, *self._checkedFurther)
        for told, check in zip((report, *report["further"]), checks, strict=False):
            if check is not None:
                told["quick_check"] = check
        if any(check is not None for check in checks):
            recordMeasures(fusedNode, report)
        self.result.show(fusedNode)
        if sourcesOf(fusedNode) == self._chosenSources():
            # Whatever was chosen meanwhile must not be fused into it.
            parameters.outputVolume = fusedNode
            found, *foundFurther = self.result.foundTransforms or (None,)
            if found is not None:
                parameters.alignmentTransform = found
            self.further.useTransforms(tuple(foundFurther), None)
        self.quality.setReport(fusedNode, report, self.run.lastNumber)
        # In a turn of its own, so that the interface lives between the two.
        qt.QTimer.singleShot(0, lambda: self._showFused(fusedNode))

    def _showFused(self, fusedNode) -> None:
        parameters = self._parameters
        if fusedNode.GetScene() is None or parameters is None:
            return
        self.views.onFused(fusedNode)
        if parameters.score and not self.run.running:
            self.quality.measure(SAMPLED_SLICES)
        # The texts get their heights in the next turns.
        qt.QTimer.singleShot(MILLISECONDS_TO_LAY_OUT, self._bringResultIntoSight)

    def _bringResultIntoSight(self) -> None:
        if self._parameters is not None:
            bringIntoSight(self.ui.resultCollapsibleButton, self.ui.applyButton)

    def stop(self) -> None:
        """End the run and the preview, and drop what observes the scene."""
        self.run.forget()
        self.position.stop()
        self.further.stopLooking()
        self.stopPreview()
        self._moved.watch()
        self._placed.watch()
        self.chosen.setParameters(None)
        self.views.stop()
        self.quality.forget()
        self.logic.stop()

    def end(self) -> None:
        """``stop``, and end the batch, which goes on while scenes come and go."""
        self.stop()
        self.batch.stop()


def _say(label, text: str) -> None:
    """Show a text; an empty label would take a line's height."""
    label.text = text
    label.visible = bool(text)
