"""The metrics of a fused node as a table and a plot of a real MRML scene."""

from __future__ import annotations

import json

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from MedFusionLib.slicer_app.scene.quality_nodes import (  # noqa: E402
    SLICE_COLUMN,
    metricsChart,
    metricsTable,
    metricsText,
    plottedMetrics,
    qualityText,
    reportOf,
)

REPORT = {
    "registration": {
        "kind": "rigid",
        "quality": {"verdict": "doubtful", "reason": "Only a part of the head is covered."},
    },
    "metrics": {
        "mean": {"SSIM": 0.8125, "VIF": None},
        "per_slice": {"SSIM": [0.75, 0.875, None], "VIF": [1.0, None, 2.0]},
    },
}


@pytest.fixture
def fused(scene):
    return slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.int16), name="Fused")


def column(tableNode, name: str) -> np.ndarray:
    return slicer.util.arrayFromTableColumn(tableNode, name)


def test_the_table_has_a_row_for_each_slice_and_a_column_for_each_metric(fused):
    table = metricsTable(fused, REPORT)
    assert table.GetNumberOfRows() == 3
    np.testing.assert_array_equal(column(table, SLICE_COLUMN), [0, 1, 2])
    np.testing.assert_array_equal(column(table, "SSIM"), [0.75, 0.875, np.nan])
    np.testing.assert_array_equal(column(table, "VIF"), [1.0, np.nan, 2.0])


def test_a_new_run_updates_the_same_table_and_plot(fused, scene):
    chart, table = metricsChart(fused, REPORT), metricsTable(fused, REPORT)
    count = scene.GetNumberOfNodes()
    later = {"metrics": {"mean": {}, "per_slice": {"SSIM": [0.5] * 4, "MI": [1.5] * 4}}}
    assert metricsChart(fused, later) is chart
    assert metricsTable(fused, later) is table
    assert scene.GetNumberOfNodes() == count
    assert table.GetNumberOfRows() == 4
    assert table.GetNumberOfColumns() == 3


def test_slices_that_were_not_measured_have_no_row(fused):
    report = {"metrics": {"per_slice": {"SSIM": [None, 0.5, None, 0.75], "VIF": [None] * 4}}}
    table = metricsTable(fused, report)
    np.testing.assert_array_equal(column(table, SLICE_COLUMN), [1, 3])
    np.testing.assert_array_equal(column(table, "SSIM"), [0.5, 0.75])


def test_what_is_hidden_stands_before_the_metrics_of_the_field(fused):
    areas = {"reference": [1.0, 2.0, 3.0], "other": [0.5, 0.0, 7.25]}
    metrics = {**REPORT["metrics"], "hidden_mm2": areas}
    table = metricsTable(fused, {"metrics": metrics, "other": {"modality": "PET"}})
    names = [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())]
    shown = ["PET hidden, mm²", "reference hidden, mm²"]
    assert names == [SLICE_COLUMN, *shown, "SSIM", "VIF"]
    np.testing.assert_array_equal(column(table, shown[0]), areas["other"])


def test_the_legend_has_room_beside_the_lines(fused):
    chart = metricsChart(fused, REPORT)
    assert not chart.GetXAxisRangeAuto()
    assert chart.GetXAxisRange()[1] > 2.5


def test_the_plot_has_a_line_for_each_metric_over_the_slices(fused):
    chart = metricsChart(fused, REPORT)
    lines = [chart.GetNthPlotSeriesNode(index) for index in range(2)]
    assert [line.GetYColumnName() for line in lines] == ["SSIM", "VIF"]
    assert {line.GetXColumnName() for line in lines} == {SLICE_COLUMN}
    assert {line.GetTableNode() for line in lines} == {metricsTable(fused, REPORT)}
    assert len({line.GetColor() for line in lines}) == 2


def test_the_text_speaks_plain_words_and_leaves_the_fields_names_to_more():
    metrics = {
        **REPORT["metrics"],
        "slices": 12,
        "empty_slices": 2,
        "measured_slices": 9,
        "legibility": {"bone_kept": 0.973, "uptake_readable": None},
        "volume": {"invented_edges": 0.012, "flicker": 1.1},
    }
    hidden = {"hidden_share": {"reference": 0.004, "other": 0.031}}
    modalities = {"reference": {"modality": "MR"}, "other": {"modality": "CT"}}
    text = qualityText({"metrics": metrics, "hidden": hidden, **modalities})
    assert text.splitlines() == [
        "Contrast kept: that of the CT in 97 %, that of the MR in more than 99 % of the head. "
        "Elsewhere more than 80 % of it is hidden.",
        "Bone kept: 97 % is shown nearly as bright as in the CT.",
        "Invented: 1 % of the edges stand in neither volume.",
        "Measured on 9 of 12 slices; 2 slices are empty.",
    ]
    assert metricsText(REPORT) == "Means over the slices: SSIM:\u00a00.812"
    assert "Nothing" in qualityText(None)
    assert "not measured" in qualityText({"method": "average"})


def test_the_report_of_a_node_comes_from_its_attributes(fused):
    assert reportOf(fused) is None
    fused.SetAttribute("MedFusion.Parameters", json.dumps({"plane": "axial"}))
    fused.SetAttribute("MedFusion.Method", "pyramid")
    report = reportOf(fused)
    assert (report["plane"], report["method"]) == ("axial", "pyramid")
    assert report["weights_sha256"] is None


def test_the_plot_leaves_out_what_would_press_the_others_onto_the_axis(fused):
    report = {"metrics": {"per_slice": {"SSIM": [0.5, None], "MSE": [600.0, 20.0]}}}
    assert plottedMetrics(report) == ["SSIM"]
    assert metricsChart(fused, report).GetNumberOfPlotSeriesNodes() == 1
    assert metricsTable(fused, report).GetNumberOfColumns() == 3
