"""CDDFuse as a fusion method and its training: batches, background, sizes, phases."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from training_pairs import assert_two_phases_go_on, write_noise_pairs
from typer.testing import CliRunner

from MedFusionLib.commands.train import app as train_app
from MedFusionLib.errors import InputError, WeightsError
from MedFusionLib.methods import method_card
from MedFusionLib.methods.cddfuse import PRESETS, Architecture, CDDFuse
from MedFusionLib.methods.cddfuse.architecture import from_config
from MedFusionLib.methods.cddfuse.weight_file import load_network, save_network
from MedFusionLib.training.cddfuse_losses import edge_strength, grid
from MedFusionLib.training.cddfuse_run import train_cddfuse
from MedFusionLib.training.settings import CDDFuseSettings, Hardware
from MedFusionLib.training.two_phases import first_phase_epochs

CPU = torch.device("cpu")
ON_CPU = Hardware(accelerator="cpu", devices="1")


def test_its_card_tells_its_size() -> None:
    counted = sum(parameter.numel() for parameter in CDDFuse(PRESETS["compact"]).parameters())
    assert method_card("cddfuse").parameters == counted


def test_the_paper_preset_has_the_published_parameters() -> None:
    with torch.device("meta"):
        network = CDDFuse(PRESETS["paper"])
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_188_272


def test_an_architecture_survives_its_way_through_json() -> None:
    for preset in PRESETS.values():
        assert from_config(json.loads(json.dumps(preset.as_config()))) == preset


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"channels": 30}, "multiple of the heads"),
        ({"skip": "both"}, "skip must be one of"),
        ({"base_mixing": "some"}, "base_mixing must be one of"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused(change: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        dataclasses.replace(PRESETS["compact"], **change)


NARROW = Architecture(
    channels=8,
    encoder_blocks=1,
    decoder_blocks=1,
    encoder_heads=2,
    decoder_heads=2,
    base_heads=2,
    fusion_heads=2,
    fold=2,
)


def test_a_weight_file_gives_the_same_network_back_and_fits_no_other(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = CDDFuse(NARROW).eval()
    save_network(network, tmp_path / "cddfuse.safetensors")
    again, _ = load_network(tmp_path / "cddfuse.safetensors")
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(image, image), network(image, image))
    network.architecture = dataclasses.replace(NARROW, encoder_blocks=2)
    save_network(network, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="do not fit"):
        load_network(tmp_path / "other.safetensors")


def test_the_grid_term_sees_a_pattern_of_single_pixels_and_no_slope() -> None:
    slope = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    black = torch.zeros_like(slope)
    checks = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(32, 32).view(1, 1, 64, 64)
    assert grid(slope + 0.01 * checks, slope, black) == pytest.approx(0.01, rel=1e-3)
    assert grid(0.5 * slope, slope, black) < 0.005
    # The paper's edges do not see it, away from the border.
    inner = (..., slice(1, -1), slice(1, -1))
    seen = edge_strength(slope + 0.01 * checks) - edge_strength(slope)
    assert seen[inner].abs().max() < 1e-5


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two training pairs and a dev pair."""
    return write_noise_pairs(tmp_path / "data", [("CT-MRI", "train")] * 2 + [("CT-MRI", "dev")])


SETTINGS = {"epochs": 2, "steps": 2, "batch_size": 2, "crop": 48, "seed": 7, "first_phase": 0.5}


@pytest.mark.parametrize("loss", ["paper", "legible"])
def test_one_run_has_both_phases_and_only_the_second_trains_the_fusion(
    data: Path, tmp_path: Path, loss: str
) -> None:
    settings = CDDFuseSettings(data=str(data), loss=loss, averaging=0.0, **SETTINGS)
    weights = train_cddfuse(settings, tmp_path / "run", ON_CPU)
    network, _ = load_network(weights)
    assert network.architecture == PRESETS["compact"]
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    # Adam has no step to remember of what has no gradient in the first phase.
    steps = {int(state["step"]) for state in last["optimizer_states"][0]["state"].values()}
    assert steps == {2, 4}
    best = next((tmp_path / "run" / "checkpoints").glob("best*.ckpt"))
    assert torch.load(best, weights_only=True)["epoch"] == 1


def test_a_run_goes_on_when_resumed_and_from_the_weights_of_another(
    data: Path, tmp_path: Path
) -> None:
    settings = CDDFuseSettings(data=str(data), **SETTINGS)
    assert_two_phases_go_on(train_cddfuse, load_network, settings, tmp_path)


def test_at_least_one_epoch_learns_to_fuse_and_impossible_shares_are_refused() -> None:
    settings = CDDFuseSettings(data="", epochs=120, first_phase=1 / 3)
    assert first_phase_epochs(settings) == 40
    assert first_phase_epochs(dataclasses.replace(settings, epochs=1, first_phase=0.9)) == 0
    with pytest.raises(InputError, match="--first-phase"):
        first_phase_epochs(dataclasses.replace(settings, first_phase=1.0))


def test_every_setting_of_a_run_is_an_option_of_its_command(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = ["cddfuse", "--data", str(data), "-o", str(folder), "--rate", "halving"]
    small = ["--epochs", "1", "--steps", "1", "--batch-size", "2", "--crop", "48"]
    hardware = ["--accelerator", "cpu", "--devices", "1"]
    result = CliRunner().invoke(train_app, [*arguments, *small, *hardware])
    assert result.exception is None, result.output
    assert json.loads((folder / "settings.json").read_text())["rate"] == "halving"
    assert (folder / "weights.safetensors").is_file()
