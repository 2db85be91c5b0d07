"""The panel's Apply, Cancel, progress and log: one run at a time, from its start to its one end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import slicer

from MedFusionLib.errors import Cancelled, MedFusionError
from MedFusionLib.slicer_app.panel.facts import JobState
from MedFusionLib.slicer_app.panel.icons import setApplyIcon
from MedFusionLib.slicer_app.panel.texts import doneText, progressText
from MedFusionLib.slicer_app.running.fusion_job import FusionRequest
from MedFusionLib.slicer_app.translation import _

SECONDS_BETWEEN_SHOWS = 0.2
"""Each change of a label lets Qt draw the whole main window again, views too, which takes a
computer without a GPU a tenth of a second."""


class RunSection:
    """Runs what ``makeRequest()`` describes when Apply is pressed.

    ``onStart()`` is called before a run begins; ``onDone(fusedNode, report)`` after one that
    succeeded; ``onChanged()`` whenever ``state`` is another than before.
    """

    def __init__(
        self,
        ui,
        logic,
        makeRequest: Callable[[], FusionRequest],
        onStart: Callable[[], None],
        onDone: Callable,
        onChanged: Callable[[], None],
    ) -> None:
        self.ui = ui
        self.state = JobState()
        self.lastNumber = 0
        """By which the worker knows the last run that succeeded."""
        self.question: str | None = None
        """What the user has to say yes to before a run begins, or None."""
        self._logic = logic
        self._makeRequest = makeRequest
        self._onStart, self._onDone, self._onChanged = onStart, onDone, onChanged
        self._job = None
        self._stepStart = self._shownAt = 0.0
        setApplyIcon(ui.applyButton, running=False)
        ui.applyButton.connect("clicked()", self.onApplyButton)
        ui.logButton.connect("toggled(bool)", self.onLogButton)

    @property
    def running(self) -> bool:
        """Whether a run has begun and not ended."""
        return self._job is not None

    def onApplyButton(self) -> None:
        """Start a run, or stop the one in progress."""
        if self._job is not None:
            self._setState(running=True, cancelling=True)
            # A second Cancel ends the run before it returns.
            self._job.cancel()
            return
        accepted = self.question
        if accepted is not None and not self._confirmed(accepted):
            return
        self._onStart()
        with slicer.util.tryWithErrorDisplay(_("The fusion could not start.")):
            # Installing shows dialogs, which let a second click through.
            self.ui.applyButton.enabled = False
            try:
                self._start(accepted)
            except (MedFusionError, ValueError) as error:
                self._tell(error)
            finally:
                self._onChanged()

    @staticmethod
    def _confirmed(question: str) -> bool:
        return slicer.util.confirmYesNoDisplay(
            question + "\n\n" + _("Fuse them all the same?"), windowTitle=_("Different patients")
        )

    def _start(self, accepted: str | None) -> None:
        self._logic.ensureReady()
        request = replace(self._makeRequest(), acceptedPatients=accepted)
        self._job = self._logic.fuseRequest(
            request, self._onProgress, self._onResult, self._onError
        )
        self._setState(running=True)

    def _setState(self, **values) -> None:
        self.state = JobState(**values)
        setApplyIcon(self.ui.applyButton, self.state.running)
        self.show()
        self._onChanged()

    def show(self) -> None:
        """Show how far the run is, if there is one."""
        ui, state = self.ui, self.state
        self._shownAt = time.monotonic()
        ui.progressBar.visible = state.running
        # A largest value of 0 makes the bar run to and fro.
        ui.progressBar.maximum, ui.progressBar.value = state.total, state.done
        if state.running:
            ui.progressLabel.text = progressText(state)
        if ui.logButton.checked:
            self._showLog()

    def _onProgress(self, done: int, total: int, message: str) -> None:
        now, before = time.monotonic(), self.state
        doneAtStart, isNewStep = before.doneAtStart, message != before.message
        if isNewStep:
            # The rate counts from the first batch: before it the network was loaded.
            self._stepStart, doneAtStart = now, done
        self.state = JobState(
            True, before.cancelling, done, total, message, doneAtStart, now - self._stepStart
        )
        if isNewStep or done == total or now - self._shownAt > SECONDS_BETWEEN_SHOWS:
            self.show()

    def _onResult(self, fusedNode, report) -> None:
        self.lastNumber, self._job = self._job.number, None
        self._onDone(fusedNode, report)
        self.ui.progressLabel.text = doneText(report)
        self._setState()

    def _onError(self, error: MedFusionError) -> None:
        self._job = None
        self._setState()
        self._tell(error)

    def _tell(self, error: Exception) -> None:
        """Why there is no result, in one sentence; no traceback for what is refused on purpose."""
        self.ui.progressLabel.text = str(error)
        if not isinstance(error, Cancelled) and not slicer.app.testingEnabled():
            slicer.util.errorDisplay(str(error), detailedText="\n".join(self._logic.log()))

    def onLogButton(self, visible: bool) -> None:
        """Show or hide the log of the fusion process."""
        self.ui.logText.visible = visible
        self._showLog()

    def _showLog(self) -> None:
        self.ui.logText.plainText = "\n".join(self._logic.log())

    def clearText(self) -> None:
        """Forget how the last run ended: its volumes are no longer chosen, or its scene is gone."""
        if self._job is None:
            self.ui.progressLabel.text = ""

    def forget(self) -> None:
        """Forget the run, which is about to end with its process."""
        self._job = None
        self._setState()
        self.clearText()
