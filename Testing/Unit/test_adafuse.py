"""AdaFuse as a fusion method: batches, background, sizes, phase, a run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from training_pairs import write_noise_pairs

from MedFusionLib.errors import WeightsError
from MedFusionLib.methods import method_card
from MedFusionLib.methods.adafuse import PRESETS, AdaFuse, Architecture
from MedFusionLib.methods.adafuse.frequency import magnitudes, with_phase_of_the_mean
from MedFusionLib.methods.adafuse.weight_file import load_network, save_network
from MedFusionLib.training.asfe_run import train_adafuse
from MedFusionLib.training.settings import ASFESettings, Hardware

CPU = torch.device("cpu")


def test_its_card_tells_its_size() -> None:
    with torch.device("meta"):
        network = AdaFuse(PRESETS["compact"])
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert method_card("adafuse").parameters == counted


def test_equal_maps_come_back_from_their_magnitudes_and_phase() -> None:
    maps = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(1))
    # Two equal images' logarithms, added as the attention's residual adds them.
    back = with_phase_of_the_mean(2 * magnitudes(maps), maps, maps)
    assert torch.allclose(back, maps, atol=1e-5)


def test_an_architecture_survives_its_way_through_json_and_others_are_refused() -> None:
    for preset in PRESETS.values():
        assert Architecture(**json.loads(json.dumps(preset.as_config()))) == preset
    with pytest.raises(ValueError, match="depths must be those of 4 levels"):
        dataclasses.replace(PRESETS["compact"], depths=(1, 1))


NARROW = dataclasses.replace(
    PRESETS["compact"], widths=(4, 4, 4, 4, 4), dim=8, heads=2, encoder_hidden=()
)


def test_a_weight_file_gives_the_same_network_back_and_fits_no_other(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = AdaFuse(NARROW).eval()
    save_network(network, tmp_path / "adafuse.safetensors")
    again, _ = load_network(tmp_path / "adafuse.safetensors")
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(image, image), network(image, image))
    network.architecture = dataclasses.replace(NARROW, depths=(1, 1, 1, 2))
    save_network(network, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="do not fit"):
        load_network(tmp_path / "other.safetensors")


def test_a_run_writes_weights_that_load(tmp_path: Path) -> None:
    pairs = [("CT-MRI", "train")] * 2 + [("CT-MRI", "dev")]
    data = write_noise_pairs(tmp_path / "data", pairs)
    settings = ASFESettings(data=str(data), epochs=1, steps=1, batch_size=2, crop=64)
    hardware = Hardware(accelerator="cpu", devices="1")
    network, _ = load_network(train_adafuse(settings, tmp_path / "run", hardware))
    assert network.architecture == PRESETS["compact"]
