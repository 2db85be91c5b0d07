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
LEGEND_SHARE = 0.3
"""Of the lines' width, that the legend beside them takes."""
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
    """What a reader finds again in the fused volume, in plain words, a line each."""
    if report is None:
        return _("Nothing is fused yet.")
    metrics = report.get("metrics")
    hidden = keptText(report)
    if not metrics and report.get("further"):
        return "\n".join(line for line in (hidden, _noMetricsText()) if line)
    if not metrics:
        return hidden or _("The fused slices were not measured.")
    lines = [hidden, *_legibilityLines(metrics, report)]
    measured = _("Measured on {count} of {slices} slices; {empty} slices are empty.").format(
        count=metrics.get("measured_slices", metrics["slices"]),
        slices=metrics["slices"],
        empty=metrics["empty_slices"],
    )
    return "\n".join([*(line for line in lines if line), measured])


def _noMetricsText() -> str:
    return _(
        "The metrics are defined for two volumes. Of more, what is hidden of each is measured."
    )


def keptText(report: Mapping[str, Any]) -> str:
    """How much of each source's contrast the fused volume keeps, from what it hides; empty while
    that was not measured."""
    shares = (report.get("hidden") or {}).get("hidden_share") or {}
    known = {role: share for role, share in shares.items() if share is not None}
    if len(known) < 2:
        return ""
    if len(known) > 2:
        return _keptOfSeveral(report, known)
    return _(
        "Contrast kept: that of the {other} in {otherShare}, that of the {reference} in "
        "{referenceShare} of the head. Elsewhere more than 80 % of it is hidden."
    ).format(
        other=sourceName(report, "other"),
        otherShare=_keptShare(known["other"]),
        reference=sourceName(report, "reference"),
        referenceShare=_keptShare(known["reference"]),
    )


def _keptOfSeveral(report: Mapping[str, Any], hidden: Mapping[str, float]) -> str:
    further = sorted((role for role in hidden if role.startswith("further")), key=_number)
    told = [
        _("that of the {source} in {share}").format(
            source=sourceName(report, role), share=_keptShare(hidden[role])
        )
        for role in ("other", *further, "reference")
    ]
    return _("Contrast kept: {told} of the head. Elsewhere more than 80 % of it is hidden.").format(
        told=", ".join(told)
    )


def _number(role: str) -> int:
    """Of a further volume, counted from 1, by its role in a report (``further 1``)."""
    return int(role.split()[1])


def _keptShare(hidden: float) -> str:
    if 0 < hidden < 0.005:
        return _("more than 99 %")
    return _("{percent} %").format(percent=f"{100 * (1 - hidden):.0f}")


def _legibilityLines(metrics: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    figures = {**(metrics.get("volume") or {}), **(metrics.get("legibility") or {})}
    words = {
        "bone_kept": _("Bone kept: {percent} % is shown nearly as bright as in the CT."),
        "uptake_readable": _(
            "Uptake readable: what the colors tell follows the {modality} with a rank "
            "correlation of {value} (1 is best)."
        ),
        "invented_edges": _("Invented: {percent} % of the edges stand in neither volume."),
        "hue_error": _("Colors: {value}° off those of the uptake, on average."),
    }
    return [
        sentence.format(
            percent=f"{100 * figures[name]:.0f}",
            value=f"{figures[name]:.2f}",
            modality=report["other"]["modality"],
        )
        for name, sentence in words.items()
        if figures.get(name) is not None
    ]


def metricsText(report: Mapping[str, Any] | None) -> str:
    """The means of the field's own metrics, in one line; empty while there are none."""
    means = ((report or {}).get("metrics") or {}).get("mean", {})
    # No line ends between a metric and its value.
    values = [f"{name}:\u00a0{value:.3f}" for name, value in means.items() if value is not None]
    if not values:
        return ""
    return _("Means over the slices: {values}").format(values=",  ".join(values))


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
    """Table node with one row per slice, made or updated: what is hidden of either volume where
    that is known, then one column per metric."""
    scene = fusedNode.GetScene()
    tableNode = fusedNode.GetNodeReference(TABLE_ROLE)
    if tableNode is None:
        name = _("{fused} metrics").format(fused=fusedNode.GetName())
        tableNode = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
        fusedNode.SetNodeReferenceID(TABLE_ROLE, tableNode.GetID())
    metrics = report["metrics"]["per_slice"]
    rows = _measuredSlices(metrics)
    columns = {**_hiddenColumns(report), **metrics}
    wasModifying = tableNode.StartModify()
    tableNode.RemoveAllColumns()
    slicer.util.updateTableFromArray(
        tableNode,
        [rows, *(_rounded(values)[rows] for values in columns.values())],
        [SLICE_COLUMN, *columns],
    )
    # Slicer would show letters, A to M, over the columns and numbers, 1 to N, beside the slices.
    tableNode.SetUseColumnTitleAsColumnHeader(True)
    tableNode.SetUseFirstColumnAsRowHeader(True)
    for name in metrics:
        tableNode.SetColumnDescription(name, metricText(name))
    tableNode.EndModify(wasModifying)
    return tableNode


def _hiddenColumns(report: Mapping[str, Any]) -> dict[str, Any]:
    """mm² of each slice that hide a source's contrast, the other volume first."""
    areas = report["metrics"].get("hidden_mm2")
    if areas is None:
        return {}
    return {
        _("{source} hidden, mm²").format(source=sourceName(report, role)): areas[role]
        for role in ("other", "reference")
    }


def sourceName(report: Mapping[str, Any], role: str) -> str:
    """What a source is called: its modality, or its role."""
    if role.startswith("further"):
        return _nameOfFurther(report, _number(role))
    modality = (report.get(role) or {}).get("modality", "unknown")
    roles = {"reference": _("reference"), "other": _("other volume")}
    return roles[role] if modality == "unknown" else modality


def _nameOfFurther(report: Mapping[str, Any], number: int) -> str:
    """The modality where no other source has the same."""
    sources = (report["reference"], report["other"], *report["further"])
    modalities = [source["modality"] for source in sources]
    modality = modalities[number + 1]
    if modality == "unknown" or modalities.count(modality) > 1:
        return _("further volume {number}").format(number=number)
    return modality


def _measuredSlices(columns: Mapping[str, Any]) -> np.ndarray:
    """Places in the stack of the slices that have a value; empty slices have none."""
    values = np.array([np.array(column, dtype=float) for column in columns.values()])
    return np.flatnonzero(np.isfinite(values).any(axis=0))


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
    _makeRoomForLegend(chartNode, report)
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


def _makeRoomForLegend(chartNode, report: Mapping[str, Any]) -> None:
    """Widen the axis of slices to the right, where the legend then stands beside the lines."""
    slices = _measuredSlices(report["metrics"]["per_slice"])
    if not len(slices):
        return
    width = max(1, int(slices[-1] - slices[0]))
    chartNode.SetXAxisRangeAuto(False)
    chartNode.SetXAxisRange(float(slices[0]), float(slices[0] + width * (1 + LEGEND_SHARE)))


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
