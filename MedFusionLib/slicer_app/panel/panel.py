"""The panel's sections brought together with the rules.

``MedFusionWidget`` owns one Panel from ``setup`` to ``cleanup``. What the widgets show is decided
in ``panel.state``; what the buttons do is in the files of the sections.
"""

from __future__ import annotations

import qt

from MedFusionLib.slicer_app.choices import AlignmentChoice
from MedFusionLib.slicer_app.panel.devices import DeviceSection
from MedFusionLib.slicer_app.panel.icons import setIcons
from MedFusionLib.slicer_app.panel.inputs import ChosenInputs, chosenOptions, chosenRequest
from MedFusionLib.slicer_app.panel.moved_nodes import MovedNodes
from MedFusionLib.slicer_app.panel.node_selectors import letKeyboardReach
from MedFusionLib.slicer_app.panel.preview import PreviewSection
from MedFusionLib.slicer_app.panel.quality import QualitySection
from MedFusionLib.slicer_app.panel.run import RunSection
from MedFusionLib.slicer_app.panel.state import REGISTERING, PanelState, panelState
from MedFusionLib.slicer_app.panel.views import ViewSection
from MedFusionLib.slicer_app.running.fusion_job import FusionRequest

SELECTORS = (
    "referenceSelector",
    "otherSelector",
    "transformSelector",
    "outputSelector",
    "pointerSelector",
)


class Panel:
    """Connects the widgets of ``MedFusion.ui``; ``stop`` ends whatever runs and lets go."""

    def __init__(self, ui, logic) -> None:
        self.ui = ui
        self.logic = logic
        self._parameters = None
        self._inputs = ChosenInputs()
        self._moved = MovedNodes(self._onMoved)
        self.devices = DeviceSection(ui, logic, self.refresh)
        self.preview = PreviewSection(ui, logic.client, self.request)
        self.run = RunSection(
            ui, logic, self.request, self.stopPreview, self._onFused, self.refresh
        )
        self.views = ViewSection(ui)
        self.quality = QualitySection(ui, logic)
        setIcons(ui)
        for name in SELECTORS:
            letKeyboardReach(getattr(ui, name))

    def setParameters(self, parameters) -> None:
        """Use another parameter node, or none while the scene closes."""
        self._parameters = parameters
        self.run.forgetWarnings()
        self.stopPreview()
        for section in (self.devices, self.views, self.quality):
            section.setParameters(parameters)
        self.refresh()

    def request(self) -> FusionRequest:
        """The fusion that is chosen in the panel."""
        return chosenRequest(self._parameters)

    def refresh(self) -> None:
        """Show what the rules say for what is chosen now."""
        parameters = self._parameters
        if parameters is None:
            return
        options = chosenOptions(parameters, self.devices.warning)
        state = panelState(self._inputs(parameters), options, self.run.state)
        self._moved.watch(
            parameters.referenceVolume, parameters.otherVolume, parameters.alignmentTransform
        )
        self._show(state)
        self.devices.showChosen()
        self.preview.show(state)
        self.views.refresh()
        self.quality.refresh()

    def _show(self, state: PanelState) -> None:
        ui = self.ui
        ui.applyButton.enabled, ui.applyButton.text = state.applyEnabled, state.applyText
        ui.applyButton.toolTip = state.applyToolTip
        for name in ("inputs", "alignment", "fusion", "output"):
            getattr(ui, f"{name}CollapsibleButton").enabled = state.inputsEnabled
        ui.transformSelector.enabled = self._parameters.alignment is AlignmentChoice.TRANSFORM
        ui.relationLabel.text = state.relationText
        ui.referenceModalityLabel.text = state.referenceModalityText
        ui.otherModalityLabel.text = state.otherModalityText
        ui.methodDescriptionLabel.text = state.methodText
        ui.warningsLabel.text = "\n".join((*state.warnings, *self.run.warnings))
        ui.warningsLabel.visible = bool(ui.warningsLabel.text)

    def _onMoved(self) -> None:
        self.refresh()
        self.preview.renew()

    def askForDevices(self) -> None:
        """Let the worker say what it can run on; the panel goes on meanwhile."""
        self.devices.ask()

    def stopPreview(self) -> None:
        """Take the fused slice away from the red view."""
        self.preview.stop()

    def _onFused(self, fusedNode, report) -> None:
        parameters = self._parameters
        if parameters is None:
            return
        parameters.outputVolume = fusedNode
        if parameters.alignment in REGISTERING:
            parameters.alignmentTransform = fusedNode.GetNodeReference("MedFusion.Transform")
        self.quality.setReport(fusedNode, report)
        # In a turn of its own, so that the interface lives between the two.
        qt.QTimer.singleShot(0, lambda: self._showFused(fusedNode))

    def _showFused(self, fusedNode) -> None:
        if fusedNode.GetScene() is not None and self._parameters is not None:
            self.views.onFused(fusedNode)

    def stop(self) -> None:
        """End the run and the preview, and drop what observes the scene."""
        self.run.forget()
        self.stopPreview()
        self._moved.watch()
        self.views.stop()
        self.quality.forget()
        self.logic.stop()
