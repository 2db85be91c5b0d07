"""EMMA as a fusion method and its training: batches, background, sizes, corners, runs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from noise_slices import slices
from torch import Tensor
from training_pairs import write_noise_pairs

from MedFusionLib.errors import InputError, WeightsError
from MedFusionLib.methods import method_card
from MedFusionLib.methods.asfe.weight_file import load_network as load_asfe
from MedFusionLib.methods.emma import PRESETS, Architecture, UFuser
from MedFusionLib.methods.emma.architecture import from_config
from MedFusionLib.methods.emma.method import EMMA
from MedFusionLib.methods.emma.weight_file import load_network, save_network
from MedFusionLib.methods.weighted_bands import FoldedBands
from MedFusionLib.training.asfe_run import train_asfe
from MedFusionLib.training.emma_losses import EquivariantLoss
from MedFusionLib.training.emma_modules import fresh_network
from MedFusionLib.training.emma_run import train_emma, train_sensing
from MedFusionLib.training.emma_sensing import SensingPair, load_pair, save_pair
from MedFusionLib.training.emma_transforms import Transforms
from MedFusionLib.training.live_run import train_live
from MedFusionLib.training.settings import (
    ASFESettings,
    EMMASettings,
    Hardware,
    LiveSettings,
    SensingSettings,
)

CPU = torch.device("cpu")
ON_CPU = Hardware(accelerator="cpu", devices="1")


def test_its_card_tells_its_size_and_the_paper_preset_has_the_published_one() -> None:
    for preset, wanted in (("compact", method_card("emma").parameters), ("paper", 1_517_657)):
        with torch.device("meta"):
            network = UFuser(PRESETS[preset])
        assert sum(parameter.numel() for parameter in network.parameters()) == wanted


def test_an_architecture_survives_its_way_through_json() -> None:
    for preset in PRESETS.values():
        assert from_config(json.loads(json.dumps(preset.as_config()))) == preset


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"widths": (16, 24, 32)}, "widths must be 4 multiples"),
        ({"widths": (16, 24, 32, 30)}, "multiples of the 4 heads"),
        ({"mixing": "some"}, "mixing must be one of"),
        ({"output": "some"}, "output must be one of"),
        ({"fold": 1}, "bands need a fold of 2, not of 1"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused(change: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        dataclasses.replace(PRESETS["compact"], **change)


def test_a_weight_file_gives_the_same_network_back_and_fits_no_other(tmp_path: Path) -> None:
    torch.manual_seed(2)
    narrow = Architecture(widths=(4, 4, 8, 8), heads=2, local_blocks=1, fold=2)
    network = UFuser(narrow).eval()
    save_network(network, tmp_path / "emma.safetensors")
    again, _ = load_network(tmp_path / "emma.safetensors")
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(image, image), network(image, image))
    network.architecture = dataclasses.replace(narrow, local_blocks=2)
    save_network(network, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="do not fit"):
        load_network(tmp_path / "other.safetensors")


def test_an_untrained_network_weighs_every_place_alike() -> None:
    reference, other = slices(1, 64, 64)
    alike = torch.tensor(FoldedBands.start).view(1, -1, 1, 1).expand(1, -1, 32, 32)
    fused = EMMA(fresh_network(PRESETS["compact"]), "", CPU).fuse(reference, other)
    assert torch.allclose(fused, FoldedBands()(alike, other, reference), atol=1e-6)


@torch.no_grad()
def test_a_folded_network_with_a_sigmoid_draws_every_pixel_and_ends_nowhere_in_black() -> None:
    folded = dataclasses.replace(PRESETS["compact"], output="sigmoid")
    torch.manual_seed(1)
    reference, other = slices(1, 64, 64)
    network = fresh_network(folded)
    fused = network(reference, other)
    assert fused.shape == reference.shape and fused.min() > 0 and fused.max() < 1
    assert len(fused.unique()) > 3000
    assert EMMA(network, "", CPU).fuse(reference, other)[..., :16].abs().max() == 0


class Brighter:
    """A fuser that gives the brighter source everywhere, and draws nothing else."""

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        return torch.maximum(reference, other)

    def cut(self, uncut: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        return uncut


class Blind(torch.nn.Module):
    """Sensing networks that see the fused slice itself, but grey in place of black."""

    def forward(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.where(fused == 0, 0.5, fused)
        return seen, seen


def test_only_the_published_loss_counts_the_corners_that_a_turn_opens() -> None:
    image = torch.full((1, 1, 48, 48), 0.5)
    lost = {}
    for corners in (True, False):
        loss = EquivariantLoss(SensingPair(1), Transforms(0, 3, 0), corners)
        loss.sensing = Blind()
        lost[corners] = float(loss(Brighter(), image, image)["equivariance"])
    assert lost[True] > 1e-3
    assert lost[False] < 1e-6


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two training pairs and a dev pair."""
    return write_noise_pairs(tmp_path / "data", [("CT-MRI", "train")] * 2 + [("CT-MRI", "dev")])


@pytest.fixture
def sensing(tmp_path: Path) -> Path:
    """Sensing networks whose statistics are not those of a fresh network."""
    torch.manual_seed(3)
    pair = SensingPair(2)
    pair(torch.rand(2, 1, 32, 32))
    save_pair(pair.eval(), tmp_path / "sensing.safetensors")
    return tmp_path / "sensing.safetensors"


SMALL = {"epochs": 1, "steps": 2, "batch_size": 2, "crop": 64, "seed": 7, "averaging": 0.0}


def test_sensing_networks_are_trained_on_what_methods_fuse(data: Path, tmp_path: Path) -> None:
    settings = SensingSettings(data=str(data), methods=("maximum", "live"), **SMALL)
    weights = train_sensing(settings, tmp_path / "run", ON_CPU)
    fresh, trained = SensingPair(16).eval(), load_pair(weights)
    assert trained.width == 16 and not trained.training
    image = torch.rand(1, 1, 64, 64)
    for seen, before in zip(trained(image), fresh(image), strict=True):
        assert seen.shape == image.shape and not torch.equal(seen, before)
    with pytest.raises(WeightsError, match="no weight file of 'emma'"):
        load_network(weights)


@pytest.mark.parametrize(
    ("loss", "place"),
    [
        ("paper", "loss.sensing"),
        ("equivariant", "loss.sensing"),
        ("legible", "loss.equivariant.sensing"),
    ],
)
def test_a_run_trains_the_fusion_network_and_leaves_the_sensing_networks(
    data: Path, sensing: Path, tmp_path: Path, loss: str, place: str
) -> None:
    settings = EMMASettings(data=str(data), sensing=str(sensing), loss=loss, **SMALL)
    weights = train_emma(settings, tmp_path / "run", ON_CPU)
    network, _ = load_network(weights)
    assert network.architecture == PRESETS["compact"]
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    kept = load_pair(sensing).state_dict()
    for key, value in kept.items():
        assert torch.equal(last["state_dict"][f"{place}.{key}"], value), key
    still = dataclasses.replace(settings, start_from=str(weights), learning_rate=0.0)
    ended, _ = load_network(train_emma(still, tmp_path / "two", ON_CPU))
    pairs = zip(network.parameters(), ended.parameters(), strict=True)
    assert all(torch.equal(before, after) for before, after in pairs)


def test_its_loss_trains_the_own_methods_too_and_asks_for_its_networks(
    data: Path, sensing: Path, tmp_path: Path
) -> None:
    asfe = ASFESettings(data=str(data), loss="equivariant", sensing=str(sensing), **SMALL)
    load_asfe(train_asfe(asfe, tmp_path / "asfe", ON_CPU))
    live = LiveSettings(data=str(data), loss="equivariant", sensing=str(sensing), **SMALL)
    assert train_live(live, tmp_path / "live", ON_CPU).is_file()
    with pytest.raises(InputError, match="--sensing FILE"):
        train_live(dataclasses.replace(live, sensing=""), tmp_path / "none", ON_CPU)
    assert not (tmp_path / "none").exists()
