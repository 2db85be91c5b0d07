"""The wavelet autoencoder as a fusion method and its training: order, shifts, rules, stages."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from noise_slices import slices
from training_pairs import assert_two_phases_go_on, write_noise_pairs
from typer.testing import CliRunner

from MedFusionLib.commands.train import app as train_app
from MedFusionLib.errors import WeightsError
from MedFusionLib.methods import create_method, method_card
from MedFusionLib.methods.wavelet import PRESETS, Architecture, WaveletAutoencoder
from MedFusionLib.methods.wavelet.architecture import from_config
from MedFusionLib.methods.wavelet.fusion import by_activity, by_magnitude
from MedFusionLib.methods.wavelet.weight_file import load_network, save_network
from MedFusionLib.training.settings import Hardware, WaveletSettings
from MedFusionLib.training.wavelet_losses import (
    edge_distance,
    rebuilding_terms,
    selected_distance,
    selected_similarity,
    selective_terms,
)
from MedFusionLib.training.wavelet_run import train_wavelet

ON_CPU = Hardware(accelerator="cpu", devices="1")
NARROW = Architecture(first=4, growth=2, convolutions=2, pooled=6)


def test_its_card_tells_its_size() -> None:
    counted = sum(
        parameter.numel() for parameter in WaveletAutoencoder(PRESETS["compact"]).parameters()
    )
    assert method_card("wavelet").parameters == counted


def test_an_architecture_survives_its_way_through_json_and_an_empty_one_is_refused() -> None:
    for preset in PRESETS.values():
        assert from_config(json.loads(json.dumps(preset.as_config()))) == preset
    with pytest.raises(ValueError, match="at least 1"):
        dataclasses.replace(PRESETS["compact"], growth=0)


def test_a_weight_file_gives_the_same_network_back_and_fits_no_other(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = WaveletAutoencoder(NARROW).eval()
    save_network(network, tmp_path / "wavelet.safetensors")
    again, _ = load_network(tmp_path / "wavelet.safetensors")
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(image, image), network(image, image))
    network.architecture = dataclasses.replace(NARROW, pooled=8)
    save_network(network, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="do not fit"):
        load_network(tmp_path / "other.safetensors")


def test_an_exchange_of_the_sources_changes_nothing() -> None:
    method = create_method("wavelet")
    reference, other = slices(2, 64, 96)
    difference = method.fuse(reference, other) - method.fuse(other, reference)
    assert difference.abs().max() <= 1e-6


@torch.no_grad()
def test_a_slice_fused_with_itself_is_the_slice_rebuilt() -> None:
    torch.manual_seed(3)
    network = WaveletAutoencoder(NARROW).double()
    image = torch.rand(1, 1, 32, 32).double()
    assert torch.allclose(network.uncut(image, image), network.rebuilt(image), atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("axis", [2, 3])
def test_a_shift_by_the_stride_shifts_the_fused_slice(axis: int) -> None:
    torch.manual_seed(5)
    network = WaveletAutoencoder(PRESETS["compact"]).double()
    reference, other = (torch.zeros(1, 1, 128, 128, dtype=torch.float64) for _ in range(2))
    drawn = torch.rand(2, 1, 24, 24, generator=torch.Generator().manual_seed(1)).double()
    reference[..., 48:72, 44:68], other[..., 52:76, 56:80] = drawn[0], drawn[1]
    stride = network.architecture.stride
    moved = network.uncut(reference.roll(stride, axis), other.roll(stride, axis))
    assert torch.allclose(moved, network.uncut(reference, other).roll(stride, axis), atol=1e-9)


@torch.no_grad()
def test_constant_sources_give_a_constant() -> None:
    torch.manual_seed(4)
    network = WaveletAutoencoder(PRESETS["compact"])
    fused = network.uncut(torch.full((1, 1, 32, 48), 0.3), torch.full((1, 1, 32, 48), 0.8))
    assert torch.allclose(fused, fused.mean(), atol=1e-6)


def test_activity_weighs_by_the_softmax_of_the_mean_magnitude() -> None:
    first, second = torch.full((1, 4, 5, 5), 2.0), torch.full((1, 4, 5, 5), -1.0)
    weight = 1 / (1 + torch.exp(torch.tensor(1.0 - 2.0)))
    fused = by_activity(first, second)
    assert torch.allclose(fused, weight * 2.0 - (1 - weight) * 1.0)


def test_of_details_the_majority_of_nine_pixels_chooses() -> None:
    first, second = torch.full((1, 1, 7, 7), 0.5), torch.full((1, 1, 7, 7), 0.2)
    second[..., 3, 3] = -0.9
    # One pixel is outvoted by its neighbours.
    assert torch.equal(by_magnitude(first, second), first)
    second[..., 2:5, 2:5] = -0.9
    chosen = by_magnitude(first, second)
    assert chosen[..., 3, 3] == -0.9 and chosen[..., 0, 0] == 0.5


def test_equal_votes_give_the_mean() -> None:
    first, second = torch.zeros(1, 1, 6, 6), torch.zeros(1, 1, 6, 6)
    assert by_magnitude(first, second).abs().max() == 0
    first[..., 3], second[..., 2] = 0.4, -0.6
    assert torch.allclose(by_magnitude(first, second)[..., 2:4], torch.tensor([-0.3, 0.2]))


def test_the_terms_of_a_perfect_picture_are_zero() -> None:
    image = slices(1, 48, 48)[0]
    terms = selective_terms(image, image, image) | rebuilding_terms(image, image)
    assert all(abs(float(term)) < 1e-5 for term in terms.values())


def test_the_intensity_leans_to_the_brighter_source() -> None:
    bright, dark = torch.full((1, 1, 8, 8), 0.9), torch.full((1, 1, 8, 8), 0.1)
    share = math.exp(4.5) / (math.exp(4.5) + math.exp(0.5))
    assert selected_distance(bright, bright, dark) == pytest.approx(0.8 * (1 - share), rel=1e-5)
    assert selected_distance(dark, bright, dark) == pytest.approx(0.8 * share, rel=1e-5)


def test_structure_is_asked_of_the_source_that_has_some() -> None:
    structure = slices(1, 48, 48)[0][..., 16:, 16:]
    flat = torch.full_like(structure, 0.5)
    assert selected_similarity(structure, structure, flat) > 0.98
    assert selected_similarity(flat, structure, flat) < 0.1


def test_edges_are_asked_to_be_as_steep_as_the_steeper_source() -> None:
    slope = torch.linspace(0, 1, 33).expand(1, 1, 33, 33)
    flat = torch.full_like(slope, 0.5)
    # A Sobel derivative over 8 is the slope per pixel, half of it at both ends.
    assert edge_distance(flat, slope, flat) == pytest.approx((31 + 1) / 33 / 32, rel=1e-3)
    assert edge_distance(slope.flip(3), slope, flat) < 1e-6


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two training pairs and a dev pair."""
    return write_noise_pairs(tmp_path / "data", [("CT-MRI", "train")] * 2 + [("CT-MRI", "dev")])


SETTINGS = {"epochs": 2, "steps": 2, "batch_size": 2, "crop": 48, "seed": 7, "first_phase": 0.5}


@pytest.mark.parametrize("loss", ["selective", "legible"])
def test_one_run_has_both_stages_and_only_the_second_is_chosen(
    data: Path, tmp_path: Path, loss: str
) -> None:
    settings = WaveletSettings(data=str(data), loss=loss, averaging=0.0, **SETTINGS)
    network, _ = load_network(train_wavelet(settings, tmp_path / "run", ON_CPU))
    assert network.architecture == PRESETS["compact"]
    best = next((tmp_path / "run" / "checkpoints").glob("best*.ckpt"))
    assert torch.load(best, weights_only=True)["epoch"] == 1


def test_a_run_goes_on_when_resumed_and_from_the_weights_of_another(
    data: Path, tmp_path: Path
) -> None:
    settings = WaveletSettings(data=str(data), **SETTINGS)
    assert_two_phases_go_on(train_wavelet, load_network, settings, tmp_path)


def test_every_setting_of_a_run_is_an_option_of_its_command(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = ["wavelet", "--data", str(data), "-o", str(folder), "--preset", "full"]
    small = ["--epochs", "1", "--steps", "1", "--batch-size", "2", "--crop", "48"]
    hardware = ["--accelerator", "cpu", "--devices", "1"]
    result = CliRunner().invoke(train_app, [*arguments, *small, *hardware])
    assert result.exception is None, result.output
    network, _ = load_network(folder / "weights.safetensors")
    assert network.architecture == PRESETS["full"]
