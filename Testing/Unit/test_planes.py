"""A volume that is fused along all three of the patient's axes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from MedFusionLib.errors import Cancelled, InputError
from MedFusionLib.evaluation.volume_measures import streaks
from MedFusionLib.fusion import fuse
from MedFusionLib.volumes.volume import Volume

UNIT = {"window_reference": (0.0, 1.0), "window_other": (0.0, 1.0)}
TURNED = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0, -1.0, 0.0, 0.0)
"""Rows run along S, columns along R, slices along A: no axis of the array is one of the patient's
in order."""


def cube(seed: int, modality: str = "MR") -> Volume:
    voxels = np.zeros((20, 24, 28), np.float32)
    voxels[3:17, 4:20, 4:24] = np.random.default_rng(seed).uniform(0.1, 1, (14, 16, 20))
    return Volume(voxels, (1.0, 1.5, 2.0), (3.0, -4.0, 5.0), TURNED, modality)


@pytest.mark.parametrize("modality", ["CT", "PET"])
def test_the_result_is_the_mean_of_the_three_planes_of_numpy(modality):
    one, two = cube(0), cube(1, modality)
    found = fuse(one, two, "pyramid", planes="three", **UNIT)
    planes = [
        fuse(one, two, "pyramid", plane=plane, **UNIT).volume.voxels.astype(float)
        for plane in ("axial", "coronal", "sagittal")
    ]
    assert np.abs(found.volume.voxels - np.mean(planes, axis=0)).max() <= 0.5 + 1e-9
    assert found.volume.voxels.dtype == (np.int16 if modality == "CT" else np.uint8)
    assert found.report["slices"] == 20 + 24 + 28 and found.report["planes"] == "three"


def test_a_rule_of_single_voxels_gives_the_same_along_all_planes():
    one, two = cube(0), cube(1)
    expected = fuse(one, two, "maximum", **UNIT).volume.voxels
    assert np.array_equal(fuse(one, two, "maximum", planes="three", **UNIT).volume.voxels, expected)


def test_the_background_stays_exactly_zero():
    empty = cube(0).voxels == 0
    fused = fuse(cube(0), cube(1), "live", planes="three", **UNIT).volume.voxels
    assert (fused[empty] == 0).all()


def test_progress_counts_all_planes_and_cancel_stops_between_them():
    told = []
    fuse(cube(0), cube(1), "average", planes="three", progress=lambda *one: told.append(one))
    assert told[-1][:2] == (72, 72) and [one[0] for one in told] == sorted(one[0] for one in told)
    with pytest.raises(Cancelled):
        fuse(cube(0), cube(1), "average", planes="three", cancel=lambda: True)


def test_another_number_of_planes_is_refused():
    with pytest.raises(InputError, match="Choose one or three"):
        fuse(cube(0), cube(1), "average", planes="two")


def test_streaks_of_slices_of_alternating_light_are_the_closed_form():
    """Slices alternate by ±a about the same mean: the second difference is ±4a everywhere."""
    flat = torch.full((6, 32, 32), 100.0)
    signs = torch.tensor([1.0, -1.0] * 3)[:, None, None]
    inner = (slice(None), slice(4, -4), slice(4, -4))
    reference, fused = flat + 2 * signs, flat + 5 * signs
    assert streaks(fused[inner], reference[inner], flat[inner]) == pytest.approx(2.5, rel=1e-3)
    assert streaks((reference + flat) / 2, reference, flat) == pytest.approx(0.5, abs=0.2)
    assert np.isnan(streaks(flat[:2], flat[:2], flat[:2]))
