"""Thinned volumes: what is left of them, how what fills them is judged, and learning from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from MedFusionLib.errors import InputError
from MedFusionLib.evaluation.finer_study import judge, linear, nearest, thinned
from MedFusionLib.refining.network import Architecture, SliceRefiner
from MedFusionLib.refining.spline import spline_weights
from MedFusionLib.refining.thinning import thinning
from MedFusionLib.refining.weight_file import load_network
from MedFusionLib.sample_data import REFERENCE as SAMPLE_MR
from MedFusionLib.training.finer_run import train_finer
from MedFusionLib.training.settings import FinerSettings, Hardware
from MedFusionLib.training.slabs import Head, SlabDataset, read_heads
from MedFusionLib.volumes.files import read_volume, write_volume
from MedFusionLib.volumes.volume import Volume
from MedFusionLib.weights import weights_entry


def ramp(count: int = 17) -> Volume:
    """Rises evenly through the slices, differently at each pixel."""
    slopes = np.random.default_rng(0).uniform(0.01, 0.05, (12, 13))
    voxels = np.arange(count)[:, None, None] * slopes
    return Volume(voxels.astype(np.float32), (1.0, 1.0, 1.5), (0.0, 0.0, 0.0), modality="MR")


def noise(count: int = 20) -> Volume:
    voxels = np.random.default_rng(1).random((count, 16, 16)).astype(np.float32)
    return Volume(voxels, (1.0, 1.0, 1.5), (0.0, 0.0, 0.0), modality="MR")


def test_thinned_slices_are_the_volumes_own() -> None:
    one = thinned(noise(), 3, averaged=False)
    assert np.array_equal(one.voxels, noise().voxels[::3])
    assert one.grid.measured_spacing == (1.0, 1.0, 4.5)
    assert one.left_out.tolist() == [False, True, True] * 6 + [False]
    assert len(one.truth) == 19


@pytest.mark.parametrize("factor", [2, 3, 4, 5])
def test_averaged_slices_are_as_thick_as_their_distance(factor: int) -> None:
    """A linear ramp keeps its values in slices that are centred where they should be."""
    weights = thinning(21, factor, averaged=True)
    inner = slice(1, -1)
    places = np.arange(0, 21, factor)
    assert np.allclose((weights @ np.arange(21))[inner], places[inner], atol=1e-5)
    assert np.allclose(weights.sum(axis=1), 1)
    assert np.allclose(weights[inner].max(axis=1), 1 / factor)


def test_linear_interpolation_finds_a_ramp_and_the_nearest_slice_does_not() -> None:
    rows = {row["way"]: row for row in judge(ramp(), [4], False, None)}
    assert rows["truth"]["psnr"] is None and rows["truth"]["ssim"] == pytest.approx(1)
    assert rows["linear"]["psnr"] > 100
    assert rows["nearest"]["psnr"] < 30
    assert rows["linear"]["edges_per_mm"] == pytest.approx(rows["truth"]["edges_per_mm"], rel=1e-4)


def test_psnr_is_that_of_scikit_image_on_the_slices_left_out() -> None:
    volume = noise()
    one = thinned(volume, 4, averaged=False)
    rows = {row["way"]: row["psnr"] for row in judge(volume, [4], False, None)}
    for name, image in (("nearest", nearest(one)), ("linear", linear(one))):
        shown, truth = (one.window.to_unit(v)[one.left_out] for v in (image, one.truth))
        expected = peak_signal_noise_ratio(truth, shown, data_range=1.0)
        assert rows[name] == pytest.approx(expected, abs=1e-3)


def test_an_untrained_network_scores_as_the_spline_does_and_ct_is_left_to_splines() -> None:
    network = SliceRefiner(Architecture(4, 1))
    rows = {row["way"]: row for row in judge(noise(), [2], True, network)}
    assert rows["network"]["psnr"] == rows["B-spline"]["psnr"]
    ct = Volume(noise().voxels, (1.0, 1.0, 1.5), (0.0, 0.0, 0.0), modality="CT")
    assert "network" not in {row["way"] for row in judge(ct, [2], False, network)}


def test_the_shipped_network_is_small_and_comes_closer_to_the_sample_head_than_splines() -> None:
    network, sha256 = load_network()
    assert weights_entry("finer").sha256 == sha256
    assert weights_entry("finer").path.stat().st_size <= 1_000_000
    whole = read_volume(SAMPLE_MR)
    part = np.ascontiguousarray(whole.voxels[60:101, 60:150, 50:140])
    head = Volume(part, whole.spacing, (0.0, 0.0, 0.0), modality="MR")
    for averaged in (False, True):
        rows = {row["way"]: row for row in judge(head, [4], averaged, network)}
        assert rows["network"]["psnr"] > rows["B-spline"]["psnr"] + 0.3
        assert rows["network"]["ssim"] > rows["B-spline"]["ssim"]


@pytest.mark.parametrize("factor", [1, 8])
def test_a_factor_that_leaves_too_little_is_refused(factor: int) -> None:
    with pytest.raises(InputError, match="cannot be judged"):
        thinned(noise(), factor, averaged=False)


def test_a_slab_is_what_the_spline_sees_between_the_slices_left() -> None:
    """Of a ramp, the true slice lies at its place between the two measured ones."""
    head = Head(np.ascontiguousarray(ramp(40).voxels), (1.5, 1.0, 1.0))
    dataset = SlabDataset([head], 8, augmented=False)
    checked = 0
    for index in range(12):
        measured, smooth, truth, place, step = dataset[index]
        expected = (1 - place) * measured[1] + place * measured[2]
        steps = measured.diff(dim=0)
        if torch.allclose(steps[0], steps[1], atol=1e-5) and torch.allclose(
            steps[1], steps[2], atol=1e-5
        ):
            checked += 1  # far from both ends, where slices are thinner and the spline is mirrored
            assert torch.allclose(truth[0], expected, atol=1e-5)
            assert torch.allclose(smooth[0], expected, atol=0.02)
        assert measured.shape == (4, 8, 8) and truth.shape == smooth.shape == (1, 8, 8)
        assert 0 < place < 1 and step >= 2
    assert checked > 3


def test_the_same_index_draws_the_same_slab() -> None:
    dataset = SlabDataset([Head(noise(40).voxels, (1.5, 1.0, 1.0))], 8, augmented=True)
    for one, two in zip(dataset[7], dataset[7], strict=True):
        assert torch.equal(one, two)
    assert spline_weights(5, 2.0, 9).shape == (9, 5)


def test_a_training_run_writes_weights_that_load(tmp_path: Path) -> None:
    for name in ("one.nrrd", "two.nrrd"):
        write_volume(noise(24), tmp_path / name)
    settings = FinerSettings(
        data=str(tmp_path), volumes=("one.nrrd",), dev_volumes=("two.nrrd",), dev_slabs=2,
        epochs=1, steps=2, batch_size=2, crop=8, width=4, blocks=1,
    )  # fmt: skip
    written = train_finer(settings, tmp_path / "run", Hardware(accelerator="cpu", devices="1"))
    network, sha256 = load_network(written)
    assert network.architecture == Architecture(4, 1) and len(sha256) == 64


def test_a_run_without_volumes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No volume was named"):
        read_heads(tmp_path, ())
