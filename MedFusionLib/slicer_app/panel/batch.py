"""The panel's section "Batch": many pairs of the DICOM database, fused one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import qt
import slicer

from MedFusionLib.errors import MedFusionError
from MedFusionLib.slicer_app.panel.batch_texts import (
    NOT_THERE,
    caseProgressText,
    caseText,
    doneText,
    foundText,
    leftOutText,
    resultStatement,
)
from MedFusionLib.slicer_app.panel.case_names import Naming, caseName
from MedFusionLib.slicer_app.panel.facts import JobState
from MedFusionLib.slicer_app.panel.grid_rules import usedPlanes, usedRefinement
from MedFusionLib.slicer_app.panel.methods import fillMethods
from MedFusionLib.slicer_app.panel.run import SECONDS_BETWEEN_SHOWS
from MedFusionLib.slicer_app.panel.study_texts import pairText
from MedFusionLib.slicer_app.panel.texts import progressText
from MedFusionLib.slicer_app.running.batch_job import BatchJob, PlannedCase
from MedFusionLib.slicer_app.scene.series_of_database import (
    filesOfSeries,
    openDatabase,
    patientsInSteps,
)
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.volumes.pairing import NoPair, Pair, choose_pairs

SECONDS_OF_LOOKING = 0.03
"""At the database in one go."""


class BatchSection:
    """Lists the pairs of the database and fuses those that are ticked.

    ``ensureReady()`` installs what is missing, after asking. The scene is neither read nor changed,
    so that a batch goes on while scenes come and go; ``stop`` ends it.
    """

    def __init__(self, ui, client, ensureReady: Callable[[], None]) -> None:
        self._ui = ui
        self._client = client
        self._ensureReady = ensureReady
        self._parameters = None
        self._scan = None
        self._pairs: list[Pair] = []
        self._left: list[tuple] = []
        self._rows: list[int] = []
        self._job: BatchJob | None = None
        self._shownAt = 0.0
        fillMethods(ui.batchMethodComboBox)
        ui.batchMethodComboBox.currentIndex = 0
        for naming in Naming:
            ui.batchNamesComboBox.addItem(Naming.label(naming), naming.value)
        ui.batchListButton.connect("clicked()", self.onListButton)
        ui.batchTickButton.connect("clicked()", self.onTickButton)
        ui.batchButton.connect("clicked()", self.onBatchButton)
        ui.batchList.connect("itemChanged(QListWidgetItem*)", lambda item: self._showButtons())
        ui.batchFolderEdit.connect("currentPathChanged(QString)", lambda path: self._showButtons())
        self._tell("")
        self._showButtons()

    @property
    def running(self) -> bool:
        """Whether a batch has begun and not ended."""
        return self._job is not None

    def setParameters(self, parameters) -> None:
        """Use another parameter node, or none while the scene closes; a batch goes on."""
        self._parameters = parameters

    def onListButton(self) -> None:
        """Look for pairs in the DICOM database, a few series at a time."""
        database = openDatabase()
        self._ui.batchList.clear()
        self._pairs, self._left = [], []
        if database is None:
            self._scan = None
            self._tell(_("There is no DICOM database. Open the module DICOM once to make one."))
            self._showButtons()
            return
        self._scan = scan = patientsInSteps(database)
        self._tell(_("Looking at the DICOM database..."))
        self._showButtons()
        qt.QTimer.singleShot(0, lambda: self._look(scan))

    def _look(self, scan) -> None:
        """Look at some series, then let the window live."""
        if scan is not self._scan:
            return
        end = time.monotonic() + SECONDS_OF_LOOKING
        while time.monotonic() < end:
            try:
                patients = next(scan)
            except StopIteration:
                self._scan = None
                self._showFound()
                return
            for patient in patients:
                self._keep(patient, choose_pairs(patient))
        qt.QTimer.singleShot(0, lambda: self._look(scan))

    def _keep(self, patient, found) -> None:
        self._pairs += [pair for pair in found if not isinstance(pair, NoPair)]
        self._left += [(patient, pair) for pair in found if isinstance(pair, NoPair)]

    def _fillList(self) -> None:
        items = self._ui.batchList
        items.blockSignals(True)
        for row, pair in enumerate(self._pairs):
            items.addItem(caseText(pair))
            items.item(row).setToolTip(pairText(pair))
            items.item(row).setCheckState(qt.Qt.Unchecked)
        items.blockSignals(False)

    def _showFound(self) -> None:
        self._fillList()
        ambiguous = [(who, found) for who, found in self._left if found.why not in NOT_THERE]
        without = len(self._left) - len(ambiguous)
        told = foundText(len(self._pairs), len(ambiguous), without)
        self._tell("\n".join(filter(None, (told, leftOutText(ambiguous)))))
        self._showButtons()

    def onTickButton(self) -> None:
        """Tick all pairs, or none where all are ticked."""
        state = qt.Qt.Unchecked if len(self._ticked()) == len(self._pairs) else qt.Qt.Checked
        items = self._ui.batchList
        items.blockSignals(True)
        for row in range(len(self._pairs)):
            items.item(row).setCheckState(state)
        items.blockSignals(False)
        self._showButtons()

    def _ticked(self) -> list[int]:
        items = self._ui.batchList
        return [
            row for row in range(len(self._pairs)) if items.item(row).checkState() == qt.Qt.Checked
        ]

    def onBatchButton(self) -> None:
        """Start the batch, or stop the one in progress."""
        if self._job is not None:
            self._tell(_("Cancelling..."))
            self._ui.batchButton.enabled = False
            self._job.cancel()
            return
        # Installing shows dialogs, which let a second click through.
        self._ui.batchButton.enabled = False
        with slicer.util.tryWithErrorDisplay(_("The batch could not start.")):
            try:
                self._ensureReady()
                self._start()
            except (MedFusionError, ValueError) as error:
                self._job = None
                self._tell(str(error))
            finally:
                self._showButtons()

    def _start(self) -> None:
        ui = self._ui
        self._rows = self._ticked()
        for row in self._rows:
            self._setText(row, caseText(self._pairs[row]))
        self._job = BatchJob(
            self._client,
            lambda function: qt.QTimer.singleShot(0, function),
            [self._planned(self._pairs[row]) for row in self._rows],
            Path(ui.batchFolderEdit.currentPath),
            self._settings(),
            filesOfSeries(openDatabase()),
            ui.batchOverwriteCheckBox.checked,
            onCase=self._onCase,
            onProgress=self._onProgress,
            onOutcome=self._onOutcome,
            onDone=self._onDone,
        )
        self._job.start()

    def _planned(self, pair: Pair) -> PlannedCase:
        ui = self._ui
        naming = Naming(ui.batchNamesComboBox.itemData(ui.batchNamesComboBox.currentIndex))
        return PlannedCase(
            caseName(pair, ui.batchMethodComboBox.currentText, naming),
            pair.reference.key,
            pair.other.key,
            "rigid" if pair.frames_differ else "resample",
        )

    def _settings(self) -> dict[str, object]:
        """The method of the batch; what else is chosen under Options, if a scene is there."""
        parameters, method = self._parameters, self._ui.batchMethodComboBox.currentText
        chosen = (
            {}
            if parameters is None
            else {
                "device": parameters.device,
                "plane": parameters.plane.value,
                "planes": usedPlanes(method, parameters.planes).value,
                "grid": parameters.grid.value,
                "refinement": usedRefinement(parameters.grid, parameters.refinement).value,
                "colour": parameters.colour.value,
                "precision": parameters.precision,
                "batch_size": parameters.batchSize or None,
            }
        )
        return {**chosen, "method": method}

    def _onCase(self, index: int) -> None:
        self._ui.batchList.setCurrentRow(self._rows[index])
        self._onProgress(index, 0, 0, _("Reading the series"))

    def _onProgress(self, index: int, done: int, total: int, message: str) -> None:
        now = time.monotonic()
        if total and now - self._shownAt < SECONDS_BETWEEN_SHOWS:
            return
        self._shownAt = now
        bar = self._ui.batchProgressBar
        bar.maximum, bar.value = total, done
        step = progressText(JobState(running=True, done=done, total=total, message=message))
        self._tell(caseProgressText(index, len(self._rows), step if total else message))

    def _onOutcome(self, index: int, outcome, report) -> None:
        row = self._rows[index]
        result = resultStatement(outcome, report)
        self._setText(row, f"{caseText(self._pairs[row])}\n{result.weight.value[0]} {result.text}")

    def _setText(self, row: int, text: str) -> None:
        self._ui.batchList.item(row).setText(text)

    def _onDone(self, outcomes) -> None:
        job, self._job = self._job, None
        told = doneText(outcomes, len(self._rows), job.cancelled)
        self._tell("\n".join(filter(None, (told, job.summaryProblem))))
        self._showButtons()

    def _showButtons(self) -> None:
        ui = self._ui
        isFree = self._job is None and self._scan is None
        for widget in (
            *(ui.batchListButton, ui.batchMethodComboBox, ui.batchFolderEdit),
            *(ui.batchNamesComboBox, ui.batchOverwriteCheckBox),
        ):
            widget.enabled = isFree
        ui.batchTickButton.enabled = isFree and bool(self._pairs)
        ui.batchProgressBar.visible = self._job is not None
        ui.batchButton.text = _("Fuse ticked pairs") if self._job is None else _("Cancel batch")
        missing = self._whatIsMissing() if isFree else None
        ui.batchButton.enabled = self._job is not None or (isFree and missing is None)
        ui.batchButton.toolTip = missing or _("Fuse them one after the other, or stop")

    def _whatIsMissing(self) -> str | None:
        if not self._pairs:
            return _("List the pairs of the DICOM database first.")
        if not self._ticked():
            return _("Tick the pairs to fuse.")
        if not self._ui.batchFolderEdit.currentPath:
            return _("Choose a folder for the fused volumes.")
        return None

    def _tell(self, text: str) -> None:
        self._ui.batchLabel.text = text
        self._ui.batchLabel.visible = bool(text)

    def stop(self) -> None:
        """End a batch and a look at the database; what was fused so far stays."""
        self._scan = None
        if self._job is not None:
            self._job.end()
            self._job = None
            self._showButtons()
