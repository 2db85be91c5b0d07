"""The panel's section "Quality": metrics, registration quality, report and DICOM."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import qt
import slicer

from MedFusionLib.errors import Cancelled, MedFusionError
from MedFusionLib.slicer_app.scene.hidden_node import (
    HIDDEN_ROLE,
    INVENTED_ROLE,
    showHiddenMap,
    showInventedMap,
)
from MedFusionLib.slicer_app.scene.provenance import recordMeasures
from MedFusionLib.slicer_app.scene.quality_nodes import (
    metricsChart,
    metricsTable,
    metricsText,
    metricsToolTip,
    qualityText,
    reportOf,
)
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.slicer_app.views import layouts as view_layouts

HIDDEN_OPACITY = 0.6
"""Of the map of what is hidden: what it lies over can still be seen."""
SAMPLED_SLICES = 9
"""So many are measured after each run; that takes a tenth of the time that all take."""


class QualitySection:
    """Shows how well a volume was fused, and takes it out of Slicer with its provenance."""

    def __init__(self, ui, logic, shownNode: Callable, onChanged: Callable[[], None]) -> None:
        self.ui = ui
        self.logic = logic
        self._shownNode = shownNode
        self._parameters = None
        self._report: dict | None = None
        self._fusedId: str | None = None
        self._run: int | None = None
        self._measuring = None
        self._onChanged = onChanged
        ui.measureAllButton.connect("clicked()", self.onMeasureAllButton)
        ui.showHiddenButton.connect("clicked()", self.onShowHiddenButton)
        ui.showInventedButton.connect("clicked()", self.onShowInventedButton)
        ui.showTableButton.connect("clicked()", self.onShowTableButton)
        ui.showPlotButton.connect("clicked()", self.onShowPlotButton)
        ui.saveReportButton.connect("clicked()", self.onSaveReportButton)
        ui.exportDicomButton.connect("clicked()", self.onExportDicomButton)

    def setParameters(self, parameters) -> None:
        """Use another parameter node, or none while the scene closes."""
        self._parameters = parameters
        self._tell("")

    def setReport(self, fusedNode, report, run: int) -> None:
        """A run has ended with this report; the worker knows it by its number."""
        self._fusedId, self._report, self._run = fusedNode.GetID(), report, run

    def forget(self) -> None:
        """Forget the last run, whose nodes are gone."""
        self.stopMeasuring()
        self._fusedId = self._report = self._run = None

    def onMeasureAllButton(self) -> None:
        """Measure every slice."""
        self.measure(None)

    def measure(self, mostSlices: int | None) -> None:
        """Measure the last fusion in the background: so many of its slices, or all."""
        self.stopMeasuring()
        self._measuring = self.logic.client.submit(
            "measure",
            {},
            onDone=self._onMeasured,
            onError=self._onMeasuringFailed,
            fusion=self._run,
            most_slices=mostSlices,
        )
        self._onChanged()

    @property
    def isMeasuring(self) -> bool:
        """Whether the measures of the shown volume are on their way."""
        fusedNode = self._shownNode()
        isOfLastRun = fusedNode is not None and fusedNode.GetID() == self._fusedId
        return self._measuring is not None and isOfLastRun

    def stopMeasuring(self) -> None:
        """Nobody waits for the measures any more."""
        if self._measuring is not None:
            self._measuring.abandon()
            self._measuring = None

    def _onMeasured(self, result) -> None:
        self._measuring = None
        seconds = {**self._report["seconds"], "measure": result["seconds"]}
        measures = {key: result[key] for key in ("metrics", "hidden") if key in result}
        self._report = {**self._report, **measures, "seconds": seconds}
        fusedNode = slicer.mrmlScene.GetNodeByID(self._fusedId)
        if fusedNode is not None:
            recordMeasures(fusedNode, self._report)
        self._onChanged()

    def _onMeasuringFailed(self, error: MedFusionError) -> None:
        self._measuring = None
        self._onChanged()
        if not isinstance(error, Cancelled):
            self._tell(str(error))

    @property
    def report(self):
        """The report of the shown volume: of the last run, else what its node carries."""
        fusedNode = self._shownNode()
        if fusedNode is None:
            return None
        if self._report is not None and fusedNode.GetID() == self._fusedId:
            return self._report
        return reportOf(fusedNode)

    def refresh(self) -> None:
        """Enable what the shown volume has."""
        ui, report = self.ui, self.report
        measured = bool(report and report.get("metrics"))
        ui.showTableButton.enabled = ui.showPlotButton.enabled = measured
        ui.saveReportButton.enabled = ui.exportDicomButton.enabled = report is not None
        ui.navigationCheckBox.enabled = report is not None
        isOfLastRun = self._run is not None and report is not None and report is self._report
        isWhole = _isMeasuredWhole(report)
        ui.measureAllButton.enabled = isOfLastRun and self._measuring is None and not isWhole
        ui.showHiddenButton.enabled = isOfLastRun or self._hasMap(HIDDEN_ROLE)
        ui.showInventedButton.visible = bool(report and report.get("grid"))
        ui.showInventedButton.enabled = isOfLastRun or self._hasMap(INVENTED_ROLE)
        ui.qualityLabel.text = (
            qualityText(report) if self._measuring is None else _("Measuring the fused slices...")
        )
        ui.metricsLabel.text = metricsText(report)
        ui.metricsLabel.toolTip = metricsToolTip(report)

    def _hasMap(self, role: str) -> bool:
        fusedNode = self._shownNode()
        return fusedNode is not None and fusedNode.GetNodeReference(role) is not None

    def onShowHiddenButton(self) -> None:
        """Lay the map of what is hidden over the fused volume; make it first if need be."""
        fusedNode = self._shownNode()
        made = fusedNode.GetNodeReference(HIDDEN_ROLE)
        if made is not None:
            view_layouts.showLayers([(fusedNode, 1.0), (made, HIDDEN_OPACITY)])
            return
        self._tell(_("Looking for what is hidden..."))
        self.logic.client.submit(
            "map_hidden",
            {},
            onDone=lambda result: self._onHiddenMapped(fusedNode, result),
            onError=self._onError,
            fusion=self._run,
        )

    def _onHiddenMapped(self, fusedNode, result) -> None:
        self._tell("")
        if fusedNode.GetScene() is None or fusedNode.GetID() != self._fusedId:
            return
        node = showHiddenMap(fusedNode, result["volume"])
        self._report = {**self._report, "hidden": result["hidden"]}
        recordMeasures(fusedNode, self._report)
        view_layouts.showLayers([(fusedNode, 1.0), (node, HIDDEN_OPACITY)])
        self._onChanged()

    def onShowInventedButton(self) -> None:
        """Lay the map of what was not measured over the fused volume; make it first if need be."""
        fusedNode = self._shownNode()
        made = fusedNode.GetNodeReference(INVENTED_ROLE)
        if made is not None:
            view_layouts.showLayers([(fusedNode, 1.0), (made, HIDDEN_OPACITY)])
            return
        self._tell(_("Looking for what is invented..."))
        self.logic.client.submit(
            "map_invented",
            {},
            onDone=lambda result: self._onInventedMapped(fusedNode, result),
            onError=self._onError,
            fusion=self._run,
        )

    def _onInventedMapped(self, fusedNode, result) -> None:
        self._tell("")
        if fusedNode.GetScene() is None or fusedNode.GetID() != self._fusedId:
            return
        node = showInventedMap(fusedNode, result["volume"])
        view_layouts.showLayers([(fusedNode, 1.0), (node, HIDDEN_OPACITY)])
        self._onChanged()

    def onShowTableButton(self) -> None:
        """Show the metrics in a table view."""
        view_layouts.showTable(metricsTable(self._shownNode(), self.report))

    def onShowPlotButton(self) -> None:
        """Show the metrics of each slice in a plot view."""
        view_layouts.showPlot(metricsChart(self._shownNode(), self.report))

    def onSaveReportButton(self) -> None:
        """Ask for a file and write the report there."""
        filters = _("Web page (*.html)") + ";;" + _("JSON (*.json)")
        chosen = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Save report"), "MedFusion report.html", filters
        )
        if not chosen:
            return
        self.saveReport(withSuffix(Path(chosen)))

    def saveReport(self, path: Path) -> None:
        """Write the report as a page (.html) or as JSON (.json)."""
        self._tell(_("Saving..."))
        self.logic.client.submit(
            "save_report",
            {},
            onDone=lambda result: self._tell(_("Saved {path}.").format(path=path)),
            onError=self._onError,
            report=self.report,
            path=str(path),
        )

    def onExportDicomButton(self) -> None:
        """Ask for a folder and write a derived series into a new one there."""
        chosen = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(), _("Folder for the DICOM series")
        )
        if not chosen:
            return
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        with slicer.util.tryWithErrorDisplay(_("The series could not be exported.")):
            self.exportDicom(Path(chosen) / f"MedFusion-{stamp}")

    def exportDicom(self, folder: Path) -> None:
        """Write the shown volume as a derived DICOM series into a new folder, or as what a
        navigation system imports."""
        isForNavigation = self.ui.navigationCheckBox.checked
        export = self.logic.exportForNavigation if isForNavigation else self.logic.exportDicom
        self._tell(_("Exporting..."))
        export(
            self._shownNode(),
            self.report,
            folder,
            onDone=lambda result: self._onExported(result, folder),
            onError=self._onError,
        )

    def _onExported(self, result, folder: Path) -> None:
        exported = (
            _("Exported {count} images to {folder}.")
            if "notes" not in result
            else _("Exported {count} DICOM files for navigation to {folder}.")
        ).format(count=len(result["files"]), folder=folder)
        self._tell(" ".join([exported, *result.get("notes", [])]))

    def _tell(self, text: str) -> None:
        self.ui.qualityMessageLabel.text = text
        self.ui.qualityMessageLabel.visible = bool(text)

    def _onError(self, error: MedFusionError) -> None:
        self._tell(str(error))
        if not isinstance(error, Cancelled) and not slicer.app.testingEnabled():
            slicer.util.errorDisplay(str(error))


def _isMeasuredWhole(report) -> bool:
    """Whether every slice was measured; of more than two volumes only what is hidden is."""
    if not report:
        return False
    metrics = report.get("metrics")
    if not metrics:
        return bool(report.get("further") and report.get("hidden"))
    return metrics.get("measured_slices") == metrics["slices"] - metrics["empty_slices"]


def withSuffix(path: Path) -> Path:
    """A report's file; one without a known ending becomes a web page."""
    isKnown = path.suffix.lower() in (".html", ".json")
    return path if isKnown else path.with_name(path.name + ".html")
