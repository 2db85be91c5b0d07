"""The panel's widgets brought together with the rules, the runs and the preview.

``MedFusionWidget`` owns one Panel from ``setup`` to ``cleanup``. What the widgets show is decided
in ``panel_state``; what the buttons do is in the logic and in the files for views and quality.
"""

from __future__ import annotations

import time

import qt
import slicer
from slicer.util import VTKObservationMixin

from MedFusionLib.errors import Cancelled, MedFusionError
from MedFusionLib.slicer_app.choices import AlignmentChoice
from MedFusionLib.slicer_app.fusion_job import FusionRequest
from MedFusionLib.slicer_app.panel_quality import QualitySection
from MedFusionLib.slicer_app.panel_state import (
    Inputs,
    JobState,
    Options,
    PanelState,
    panelState,
)
from MedFusionLib.slicer_app.panel_views import ViewSection
from MedFusionLib.slicer_app.scene_facts import isColour, relation, volumeFacts
from MedFusionLib.slicer_app.slice_preview import SlicePreview
from MedFusionLib.slicer_app.torch_setup import torchInstalled
from MedFusionLib.slicer_app.translation import _

MOVED_MILLISECONDS = 300


class Panel(VTKObservationMixin):
    """Connects the widgets of ``MedFusion.ui``; ``stop`` ends whatever runs and lets go."""

    def __init__(self, ui, logic) -> None:
        VTKObservationMixin.__init__(self)
        self.ui = ui
        self.logic = logic
        self._parameters = None
        self._job = None
        self._jobState = JobState()
        self._phaseStart = 0.0
        self._runWarnings: tuple[str, ...] = ()
        self._deviceWarning: str | None = None
        self._relation = _Remembered(relation)
        self._facts = (_Remembered(volumeFacts), _Remembered(volumeFacts))
        self._placed: tuple = ()
        self._moved = False
        self._preview = SlicePreview(logic.client, self._onPreviewShown, self._onPreviewError)
        self._previewAsked = 0.0
        self.views = ViewSection(ui)
        self.quality = QualitySection(ui, logic)
        self._fillDevices([])
        self._connect()

    def _connect(self) -> None:
        ui = self.ui
        ui.applyButton.connect("clicked()", self.onApplyButton)
        ui.logButton.connect("toggled(bool)", self.onLogButton)
        ui.previewButton.connect("clicked()", self.onPreviewButton)
        ui.livePreviewCheckBox.connect("toggled(bool)", self.onLivePreview)
        ui.deviceComboBox.connect("activated(int)", self.onDeviceActivated)

    # The parameter node

    def setParameters(self, parameters) -> None:
        """Use another parameter node, or none while the scene closes."""
        self._parameters = parameters
        self._runWarnings = ()
        self.stopPreview()
        self.views.setParameters(parameters)
        self.quality.setParameters(parameters)
        self.refresh()

    def refresh(self) -> None:
        """Show what the rules say for what is chosen now."""
        parameters = self._parameters
        if parameters is None:
            return
        state = panelState(self._inputs(parameters), self._options(parameters), self._jobState)
        self._observePlaces(parameters)
        self._show(state)
        self.views.refresh()
        self.quality.refresh()

    def _observePlaces(self, parameters) -> None:
        """See when a chosen volume is moved, which the parameter node does not tell."""
        nodes = (parameters.referenceVolume, parameters.otherVolume, parameters.alignmentTransform)
        if nodes != self._placed:
            self._placed = nodes
            self.removeObservers(self._onMoved)
            for node in filter(None, nodes):
                self.addObserver(node, node.TransformModifiedEvent, self._onMoved)

    def _onMoved(self, caller, event) -> None:
        # A tracked transform moves sixty times a second; a line of text need not.
        if not self._moved:
            self._moved = True
            qt.QTimer.singleShot(MOVED_MILLISECONDS, self._refreshMoved)

    def _refreshMoved(self) -> None:
        self._moved = False
        self.refresh()
        if self._preview.active:
            self._renewPreview()

    def _inputs(self, parameters) -> Inputs:
        reference, other = parameters.referenceVolume, parameters.otherVolume
        output = parameters.outputVolume
        found = self._relation(reference, other, self._transformNode(parameters))
        return Inputs(
            reference=self._facts[0](reference, parameters.referenceModality.value),
            other=self._facts[1](other, parameters.otherModality.value),
            sameVolume=reference is not None and reference is other,
            overlapKind=found.kind if found else None,
            overlapFraction=found.fraction if found else 0.0,
            outputIsInput=output is not None and output in (reference, other),
            outputIsColour=None if output is None else isColour(output),
        )

    def _options(self, parameters) -> Options:
        return Options(
            method=parameters.method,
            alignment=parameters.alignment,
            hasTransform=parameters.alignmentTransform is not None,
            colour=parameters.colour,
            force=parameters.force,
            torchInstalled=torchInstalled(),
            deviceWarning=self._deviceWarning,
        )

    @staticmethod
    def _transformNode(parameters):
        chosen = parameters.alignment is AlignmentChoice.TRANSFORM
        return parameters.alignmentTransform if chosen else None

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
        ui.warningsLabel.text = "\n".join((*state.warnings, *self._runWarnings))
        ui.warningsLabel.visible = bool(ui.warningsLabel.text)
        self._showPreviewState(state)
        self._showProgress(state)

    def _showPreviewState(self, state: PanelState) -> None:
        for widget in (self.ui.previewButton, self.ui.livePreviewCheckBox):
            widget.enabled = state.previewEnabled
            widget.toolTip = state.previewToolTip
        if not self._preview.active:
            return
        if not state.previewEnabled:
            self.stopPreview()
        elif self._preview.request != self.request():
            self._renewPreview()

    def _showProgress(self, state: PanelState) -> None:
        ui = self.ui
        ui.progressBar.visible = state.progressVisible
        ui.progressBar.maximum = state.progressMaximum
        ui.progressBar.value = state.progressValue
        if state.progressVisible:
            ui.progressLabel.text = state.progressText

    # Devices

    def askForDevices(self) -> None:
        """Let the worker say what it can run on; the panel goes on meanwhile."""
        if torchInstalled() and not self.logic.devicesKnown:
            self.logic.describeDevices(self._onDevices)

    def _onDevices(self, described) -> None:
        self._deviceWarning = described["warning"]
        self._fillDevices(described["devices"])
        self.refresh()

    def _fillDevices(self, devices) -> None:
        combo = self.ui.deviceComboBox
        combo.clear()
        combo.addItem(_("Automatic"), "auto")
        for device in devices:
            combo.addItem(device["label"], device["name"])
        chosen = self._parameters.device if self._parameters else "auto"
        combo.currentIndex = max(0, combo.findData(chosen))

    def onDeviceActivated(self, index: int) -> None:
        """The user has picked a device."""
        if self._parameters is not None:
            self._parameters.device = self.ui.deviceComboBox.itemData(index)

    # Apply and Cancel

    def onApplyButton(self) -> None:
        """Start a run, or stop the one in progress."""
        if self._job is not None:
            self._setJobState(running=True, cancelling=True)
            # A second Cancel ends the run before it returns.
            self._job.cancel()
            return
        self.stopPreview()
        with slicer.util.tryWithErrorDisplay(_("The fusion could not start.")):
            # Installing shows dialogs, which let a second click through.
            self.ui.applyButton.enabled = False
            try:
                self.logic.ensureReady()
                self._job = self.logic.fuseRequest(
                    self.request(), self._onProgress, self._onDone, self._onError
                )
                self._runWarnings = ()
                self._setJobState(running=True)
            finally:
                self.refresh()

    def request(self) -> FusionRequest:
        """The fusion that is chosen in the panel."""
        parameters = self._parameters
        chosen = parameters.alignment
        options = {
            "device": parameters.device,
            "plane": parameters.plane.value,
            "colour": parameters.colour.value,
            "precision": parameters.precision,
            "batch_size": parameters.batchSize or None,
            "allow_nonfinite": parameters.allowNonfinite,
            "force": parameters.force,
        }
        return FusionRequest(
            referenceNode=parameters.referenceVolume,
            otherNode=parameters.otherVolume,
            outputNode=parameters.outputVolume,
            method=parameters.method,
            alignment="resample" if chosen is AlignmentChoice.TRANSFORM else chosen.value,
            transformNode=self._transformNode(parameters),
            modalities=(parameters.referenceModality.value, parameters.otherModality.value),
            windows=(parameters.referenceWindow.value, parameters.otherWindow.value),
            options=options,
            score=parameters.score,
        )

    def _setJobState(self, **values) -> None:
        self._jobState = JobState(**values)
        self.refresh()

    def _onProgress(self, done: int, total: int, message: str) -> None:
        now, before = time.monotonic(), self._jobState
        doneAtStart = before.doneAtStart
        if message != before.message:
            # The rate counts from the first batch: before it the network was loaded.
            self._phaseStart, doneAtStart = now, done
        self._jobState = JobState(
            True, before.cancelling, done, total, message, doneAtStart, now - self._phaseStart
        )
        self._showProgress(panelState(Inputs(), self._options(self._parameters), self._jobState))

    def _onDone(self, fusedNode, report) -> None:
        self._job = None
        self._runWarnings = tuple(report["warnings"])
        parameters = self._parameters
        if parameters is not None:
            parameters.outputVolume = fusedNode
            found = fusedNode.GetNodeReference("MedFusion.Transform")
            if parameters.alignment in (AlignmentChoice.RIGID, AlignmentChoice.AFFINE):
                parameters.alignmentTransform = found
            self.quality.setReport(fusedNode, report)
            # In a turn of its own, so that the interface lives between the two.
            qt.QTimer.singleShot(0, lambda: self._showFused(fusedNode))
        seconds = report["seconds"]["total"]
        self.ui.progressLabel.text = _("Done in {seconds} s on {device}.").format(
            seconds=f"{seconds:.1f}", device=report["device_title"]
        )
        self._setJobState()

    def _showFused(self, fusedNode) -> None:
        if fusedNode.GetScene() is not None and self._parameters is not None:
            self.views.onFused(fusedNode)

    def _onError(self, error: MedFusionError) -> None:
        self._job = None
        self.ui.progressLabel.text = str(error)
        self._setJobState()
        if not isinstance(error, Cancelled) and not slicer.app.testingEnabled():
            slicer.util.errorDisplay(str(error), detailedText="\n".join(self.logic.log()))

    def onLogButton(self, visible: bool) -> None:
        """Show or hide the log of the fusion process."""
        self.ui.logText.visible = visible
        self.ui.logText.plainText = "\n".join(self.logic.log())

    # Preview

    def onPreviewButton(self) -> None:
        """Fuse the slice of the red view once."""
        self._startPreview(live=False)

    def onLivePreview(self, live: bool) -> None:
        """Fuse each slice that the red view shows, or stop."""
        if live:
            self._startPreview(live=True)
        else:
            self.stopPreview()

    def _startPreview(self, live: bool) -> None:
        layoutManager = slicer.app.layoutManager()
        sliceWidget = layoutManager.sliceWidget("Red") if layoutManager else None
        if sliceWidget is None:
            self.ui.previewLabel.text = _("There is no red slice view.")
            return
        with slicer.util.tryWithErrorDisplay(_("The slice could not be previewed.")):
            self._preview.start(
                self.request(),
                sliceWidget.mrmlSliceNode(),
                sliceWidget.mrmlSliceCompositeNode(),
                live,
            )
            self.ui.previewLabel.text = _("Preparing...")

    def _renewPreview(self) -> None:
        """What is shown is no longer what is chosen."""
        if self.ui.livePreviewCheckBox.checked:
            self._startPreview(live=True)
        else:
            self.stopPreview()

    def stopPreview(self) -> None:
        """Take the fused slice away from the red view."""
        self._preview.stop()
        self.ui.previewLabel.text = ""
        # Without the signal, which would come back here.
        wasBlocked = self.ui.livePreviewCheckBox.blockSignals(True)
        self.ui.livePreviewCheckBox.checked = False
        self.ui.livePreviewCheckBox.blockSignals(wasBlocked)

    def _onPreviewShown(self, plane: str, seconds: float, method: str) -> None:
        text = _("{plane} slice fused in {milliseconds} ms by {method}.").format(
            plane=plane.capitalize(), milliseconds=round(1000 * seconds), method=method
        )
        if method != self._parameters.method:
            text += " " + _("{chosen} is too slow to follow; Apply will use it.").format(
                chosen=self._parameters.method
            )
        if plane != self._parameters.plane.value:
            text += " " + _("Apply will fuse along the plane that is chosen above.")
        self.ui.previewLabel.text = text

    def _onPreviewError(self, error: MedFusionError) -> None:
        self.ui.previewLabel.text = str(error)

    # The end

    def stop(self) -> None:
        """End the run and the preview, and drop what observes the scene."""
        self._job = None
        self._preview.stop()
        self.removeObservers()
        self._placed = ()
        self.views.stop()
        self.quality.forget()
        self.logic.stop()
        self._jobState = JobState()


class _Remembered:
    """A function of nodes and plain values, computed again only when one of them has changed."""

    def __init__(self, function) -> None:
        self._function = function
        self._key: object = None
        self._value = None

    def __call__(self, *arguments):
        key = tuple(_state(argument) for argument in arguments)
        if key != self._key:
            self._key, self._value = key, self._function(*arguments)
        return self._value


def _state(argument):
    """What tells whether a node, its image or its place in the world has changed."""
    if not isinstance(argument, slicer.vtkMRMLTransformableNode):
        return argument
    times = [argument.GetMTime()]
    if argument.IsA("vtkMRMLVolumeNode") and argument.GetImageData() is not None:
        times.append(argument.GetImageData().GetMTime())
    node = argument
    while (node := node.GetParentTransformNode()) is not None:
        times.append(node.GetTransformToWorldMTime())
    if argument.IsA("vtkMRMLTransformNode"):
        times.append(argument.GetTransformToWorldMTime())
    return (argument.GetID(), *times)
