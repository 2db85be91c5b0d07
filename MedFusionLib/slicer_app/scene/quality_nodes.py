"""How well a volume was fused, as text, as a table node and as a plot of the scene."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer

from MedFusionLib.evaluation.metric_cards import METRIC_CARDS
from MedFusionLib.slicer_app.choices import Plane
from MedFusionLib.slicer_app.scene.provenance import CHART_ROLE, TABLE_ROLE
from MedFusionLib.slicer_app.translation import _

SLICE_COLUMN = "slice"
LARGEST_INDEX = 2.5
TABLE_DECIMALS = 4
_FROM_ATTRIBUTES = {
    "method": "MedFusion.Method",
    "version": "MedFusion.Version",
    "weights_sha256": "MedFusion.WeightsSHA256",
    "device": "MedFusion.Device",
}
# Dark and pale by turns, so that neighbours differ in print as well.
_COLOURS = (
    (0.12, 0.47, 0.71),
    (0.99, 0.68, 0.38),
    (0.17, 0.63, 0.17),
    (0.84, 0.15, 0.16),
    (0.58, 0.40, 0.74),
    (0.45, 0.85, 0.90),
    (0.40, 0.26, 0.20),
    (0.95, 0.55, 0.80),
)


def reportOf(fusedNode) -> dict[str, Any] | None:
    """The report that a fused node carries in its attributes; None for another node."""
    parameters = fusedNode.GetAttribute("MedFusion.Parameters")
    if not parameters:
        return None
    kept = {key: fusedNode.GetAttribute(name) for key, name in _FROM_ATTRIBUTES.items()}
    return {**json.loads(parameters), **kept}


def qualityText(report: Mapping[str, Any] | None) -> str:
    """Registration quality and the means of the metrics, a line each."""
    if report is None:
        return _("Nothing is fused yet.")
    lines = []
    registration = report.get("registration")
    if registration:
        quality = registration["quality"]
        lines.append(
            _("Registration: {verdict}. {reason}").format(
                verdict=verdictText(quality["verdict"]), reason=quality["reason"]
            )
        )
    means = (report.get("metrics") or {}).get("mean", {})
    # No line ends between a metric and its value.
    values = [f"{name}:\u00a0{value:.3f}" for name, value in means.items() if value is not None]
    if values:
        lines.append(_("Means over the slices: {values}").format(values=",  ".join(values)))
    return "\n".join(lines) or _("The fused slices were not measured.")


def verdictText(verdict: str) -> str:
    """The word for how well a registration went."""
    words = {"pass": _("pass"), "doubtful": _("doubtful"), "failed": _("failed")}
    return words.get(verdict, verdict)


def metricText(name: str) -> str:
    """What a metric is, its values and its direction, for who does not know its letters."""
    card = METRIC_CARDS.get(name)
    if card is None:
        return name
    text = (
        _("{name}: {title} ({range}), higher is better")
        if card.higher_is_better
        else _("{name}: {title} ({range}), lower is better")
    )
    return text.format(name=name, title=card.title, range=card.value_range)


def metricsToolTip(report: Mapping[str, Any] | None) -> str:
    """What the metrics of a report are, a line each."""
    means = ((report or {}).get("metrics") or {}).get("mean", {})
    return "\n".join(metricText(name) for name in means) or _(
        "How well the volumes were aligned and fused, once they are."
    )


def metricsTable(fusedNode, report: Mapping[str, Any]):
    """Table node with one row per slice and one column per metric, made or updated."""
    scene = fusedNode.GetScene()
    tableNode = fusedNode.GetNodeReference(TABLE_ROLE)
    if tableNode is None:
        name = _("{fused} metrics").format(fused=fusedNode.GetName())
        tableNode = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
        fusedNode.SetNodeReferenceID(TABLE_ROLE, tableNode.GetID())
    columns = report["metrics"]["per_slice"]
    count = max(len(values) for values in columns.values())
    wasModifying = tableNode.StartModify()
    tableNode.RemoveAllColumns()
    slicer.util.updateTableFromArray(
        tableNode,
        [np.arange(count), *(_rounded(values) for values in columns.values())],
        [SLICE_COLUMN, *columns],
    )
    # Slicer would show letters, A to M, over the columns and numbers, 1 to N, beside the slices.
    tableNode.SetUseColumnTitleAsColumnHeader(True)
    tableNode.SetUseFirstColumnAsRowHeader(True)
    for name in columns:
        tableNode.SetColumnDescription(name, metricText(name))
    tableNode.EndModify(wasModifying)
    return tableNode


def _rounded(values) -> np.ndarray:
    """What a table can be read with; the report has all digits. NaN where a metric is undefined."""
    return np.round(np.array(values, dtype=float), TABLE_DECIMALS)


def metricsChart(fusedNode, report: Mapping[str, Any]):
    """Chart node with a line over the slices for each metric of like size, made or updated."""
    scene = fusedNode.GetScene()
    tableNode = metricsTable(fusedNode, report)
    chartNode = fusedNode.GetNodeReference(CHART_ROLE)
    if chartNode is None:
        chartNode = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", tableNode.GetName())
        fusedNode.SetNodeReferenceID(CHART_ROLE, chartNode.GetID())
    wasModifying = chartNode.StartModify()
    chartNode.SetTitle(fusedNode.GetName())
    chartNode.SetXAxisTitle(_sliceAxisTitle(report))
    chartNode.SetYAxisTitle(_("Metric"))
    known = _seriesOf(chartNode)
    for number, name in enumerate(plottedMetrics(report)):
        series = known.pop(name, None) or _newSeries(chartNode, name)
        series.SetAndObserveTableNodeID(tableNode.GetID())
        series.SetColor(*_COLOURS[number % len(_COLOURS)])
    for series in known.values():
        chartNode.RemovePlotSeriesNodeID(series.GetID())
        scene.RemoveNode(series)
    chartNode.EndModify(wasModifying)
    return chartNode


def _sliceAxisTitle(report: Mapping[str, Any]) -> str:
    plane = report["metrics"].get("plane")
    if plane is None:
        return _("Slice")
    return _("{plane} slice").format(plane=Plane.label(Plane(plane)))


def plottedMetrics(report: Mapping[str, Any]) -> list[str]:
    """The metrics that share an axis: indices of about 1. Beside a mean squared error of hundreds
    they would all lie on the axis; the table has those."""
    columns = report["metrics"]["per_slice"]
    largest = {
        name: max((abs(value) for value in values if value is not None), default=0.0)
        for name, values in columns.items()
    }
    return [name for name in columns if largest[name] <= LARGEST_INDEX]


def _seriesOf(chartNode) -> dict[str, Any]:
    """The lines of a chart by their metrics."""
    count = chartNode.GetNumberOfPlotSeriesNodes()
    lines = [chartNode.GetNthPlotSeriesNode(index) for index in range(count)]
    return {line.GetYColumnName(): line for line in lines}


def _newSeries(chartNode, name: str):
    series = chartNode.GetScene().AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    series.SetXColumnName(SLICE_COLUMN)
    series.SetYColumnName(name)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    chartNode.AddAndObservePlotSeriesNodeID(series.GetID())
    return series
