"""The colour scale of a fusion: its unit, and what a page and a picture show of it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from MedFusionLib.errors import InputError
from MedFusionLib.evaluation.reports.fusion_page import fusion_page
from MedFusionLib.evaluation.reports.legend_picture import BAR_WIDTH, MARGIN, draw_legend
from MedFusionLib.fusion import fuse
from MedFusionLib.slices.colour import apply_colour_map
from MedFusionLib.slices.legend import Legend, legend_of
from MedFusionLib.volumes.volume import Volume


def head(modality: str, dtype=np.int16, **metadata: str) -> Volume:
    voxels = np.random.default_rng(5).integers(0, 20_000, (2, 32, 32))
    voxels = (voxels // 80 if dtype is np.uint8 else voxels).astype(dtype)
    return Volume(voxels, (1, 1, 1), (0, 0, 0), modality=modality, metadata=metadata)


def report_of(other: Volume, **options) -> dict:
    return fuse(head("MR"), other, "maximum", device="cpu", **options).report


def test_a_pet_with_a_known_factor_has_a_scale_in_suv():
    report = report_of(head("PET", suv_factor="0.0005"), window_other=(2000.0, 12_000.0))
    legend = legend_of(report)
    assert (legend.unit, legend.colour_map) == ("SUV", "rainforest")
    assert (legend.low, legend.high) == pytest.approx((1.0, 6.0))
    assert legend.labels() == ["1", "2.25", "3.5", "4.75", "6"]


def test_values_without_a_factor_get_no_window_of_suv_and_so_no_such_legend():
    with pytest.raises(InputError, match="become SUV"):
        report_of(head("PET"), window_other="suv")


@pytest.mark.parametrize(
    ("modality", "dtype", "unit"),
    [
        ("SPECT", np.int16, "counts"),
        ("SPECT", np.uint8, "stored values"),
        ("PET", np.int16, "stored values"),
    ],
)
def test_without_a_factor_the_scale_is_in_what_the_voxels_are(modality, dtype, unit):
    other = head(modality, dtype)
    legend = legend_of(report_of(other))
    assert legend.unit == unit
    assert (legend.low, legend.high) == (0, 255 if dtype is np.uint8 else other.voxels.max())


def test_a_grey_result_and_a_volume_in_its_own_colours_have_no_scale():
    assert legend_of(report_of(head("CT"))) is None
    coloured = Volume(
        np.random.default_rng(6).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8),
        (1, 1, 1),
        (0, 0, 0),
        modality="PET",
    )
    report = report_of(coloured)
    assert legend_of(report) is None
    assert "not known" in fusion_page(report, {})


def test_the_page_shows_the_map_and_its_colours_on_anatomy_with_the_uptake_below():
    page = fusion_page(report_of(head("PET", suv_factor="0.0005")), {})
    bars = [
        np.array([to_rgb(stop) for stop in re.findall("#[0-9a-f]{6}", bar)])
        for bar in re.findall(r"linear-gradient\(to right, ([^)]*)\)", page)
    ]
    places = np.linspace(0, 1, len(bars[0]), dtype=np.float32)
    np.testing.assert_allclose(bars[0], apply_colour_map(places, "rainforest"), atol=0.5 / 255)
    # On anatomy the scale begins with the anatomy's own grey.
    assert [bar[0].tolist() for bar in bars[1:]] == [
        pytest.approx([light] * 3, abs=0.5 / 255) for light in (0.25, 0.5, 0.75)
    ]
    assert "SUV" in page
    assert page.count("<span>") == 5


def test_the_picture_has_a_bar_from_the_most_uptake_above_to_none_below():
    picture = Image.new("RGB", (200, 200))
    draw_legend(picture, Legend("rainforest", 0, 10, "SUV"))
    column = np.asarray(picture)[:, 200 - MARGIN - BAR_WIDTH // 2]
    top, bottom = 60, 139
    most, none = apply_colour_map(np.array([1, 0], np.float32), "rainforest")
    np.testing.assert_allclose(column[top] / 255, most, atol=0.5 / 255)
    assert column[bottom].tolist() == none.tolist() == [0, 0, 0]
    assert np.asarray(picture)[:, : 200 - MARGIN - BAR_WIDTH - 4].any(), "no labels"
