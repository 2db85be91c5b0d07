"""The metrics against the stored values of the DM-FNet evaluator, and against other libraries."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from MedFusionLib.evaluation.grey_images import grey
from MedFusionLib.evaluation.metrics import METRIC_CARDS, all_metrics

CASES = (
    "ct_asfe_16012",
    "pet_asfe_25038",
    "spect_dmfnet_02",
    "pet_dmfnet_32",
    "ct_cddfuse_15_max",
    "crop_ct_nonsquare",
    "synthetic_blur",
    "identical",
)
NAME_IN_EVALUATOR = {"VIF": "VIFF"}


def slices_of(shared: Path, case: str) -> list[torch.Tensor]:
    """Fused slice, first and second source, (1, H, W)."""
    folder = shared / "parity" / "metrics"
    return [
        torch.from_numpy(np.array(Image.open(folder / f"{case}_{role}.png")))[None]
        for role in "FAB"
    ]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("metric", METRIC_CARDS)
def test_every_metric_has_the_evaluators_value_also_where_it_is_not_finite(shared, case, metric):
    stored = json.loads((shared / "parity/metrics/metrics.json").read_text())
    expected = float(stored[case]["dmfnet_evaluator"][NAME_IN_EVALUATOR.get(metric, metric)])
    found = all_metrics(*slices_of(shared, case))[metric].item()
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-9, nan_ok=True)


def test_the_degenerate_case_is_covered_by_nan_and_infinity(shared):
    values = all_metrics(*slices_of(shared, "identical"))
    assert math.isnan(values["SCD"].item())
    assert values["PSNR"].item() == math.inf


@pytest.mark.parametrize("metric", ["MI", "VIF", "Qabf"])
def test_a_copy_of_the_mr_beats_the_average_in_metrics_that_are_marked_so(shared, metric):
    for case in CASES[:4]:
        _, other, mri = slices_of(shared, case)
        average = ((mri.double() + other.double()) / 2).round()
        assert METRIC_CARDS[metric].raised_by == "copying"
        assert all_metrics(mri, mri, other)[metric] > all_metrics(average, mri, other)[metric]


@pytest.mark.parametrize("metric", ["CC", "PSNR"])
def test_a_copy_of_a_source_does_not_beat_the_average_in_metrics_without_that_mark(shared, metric):
    for case in CASES[:4]:
        _, other, mri = slices_of(shared, case)
        average = ((mri.double() + other.double()) / 2).round()
        assert METRIC_CARDS[metric].raised_by != "copying"
        assert all_metrics(mri, mri, other)[metric] < all_metrics(average, mri, other)[metric]


def test_grey_values_of_colour_images_are_those_of_opencv(shared):
    stored = np.load(shared / "parity" / "color_handling.npz")
    rgb = stored["functional_bgr"][..., ::-1]
    assert np.array_equal(grey(rgb), stored["opencv_ycrcb"][..., 0])
