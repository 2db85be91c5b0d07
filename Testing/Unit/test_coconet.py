"""CoCoNet as a fusion method and its training: sizes, target regions, contrast, stages."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from noise_slices import slices
from training_pairs import write_noise_pairs

from MedFusionLib.errors import InputError, WeightsError
from MedFusionLib.methods import method_card
from MedFusionLib.methods.coconet import PRESETS, Architecture, CoCoNet
from MedFusionLib.methods.coconet.architecture import from_config
from MedFusionLib.methods.coconet.method import CoCoNetMethod
from MedFusionLib.methods.coconet.weight_file import load_network, save_network
from MedFusionLib.methods.weighted_bands import FoldedBands
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.coconet_encoder import DeeperBlocks, Redrawing
from MedFusionLib.training.coconet_losses import (
    LOSSES,
    STAGES,
    coupled_contrast,
    entropy,
    main_terms,
)
from MedFusionLib.training.coconet_module import CoCoNetTraining, Stages, fresh_network
from MedFusionLib.training.coconet_run import stages_of, train_coconet
from MedFusionLib.training.data import SlicePair
from MedFusionLib.training.settings import CoCoNetSettings, Hardware
from MedFusionLib.training.target_regions import TargetPairDataset, target_region

CPU = torch.device("cpu")
ON_CPU = Hardware(accelerator="cpu", devices="1")
NARROW = Architecture(
    widths=(4, 4, 6, 8), encoder_depths=(2, 1, 1), fold=2, output="weighted bands"
)


def test_its_card_tells_its_size_and_the_paper_preset_has_the_published_one() -> None:
    for preset, wanted in (("compact", method_card("coconet").parameters), ("paper", 9_114_180)):
        with torch.device("meta"):
            network = CoCoNet(PRESETS[preset])
        assert sum(parameter.numel() for parameter in network.parameters()) == wanted


def test_an_architecture_survives_its_way_through_json() -> None:
    for preset in PRESETS.values():
        assert from_config(json.loads(json.dumps(preset.as_config()))) == preset


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"widths": (16, 24, 32)}, "4 widths and 3 encoder depths"),
        ({"output": "some"}, "output must be one of"),
        ({"fold": 1}, "need a fold of 2 and tanh one of 1, not of 1"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused(change: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        dataclasses.replace(PRESETS["compact"], **change)


def test_a_weight_file_gives_the_same_network_back_and_fits_no_other(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = CoCoNet(NARROW).eval()
    save_network(network, tmp_path / "coconet.safetensors")
    again, _ = load_network(tmp_path / "coconet.safetensors")
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(image, image), network(image, image))
    network.architecture = dataclasses.replace(NARROW, encoder_depths=(2, 2, 1))
    save_network(network, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="do not fit"):
        load_network(tmp_path / "other.safetensors")


def test_an_untrained_network_weighs_every_place_alike() -> None:
    reference, other = slices(1, 64, 64)
    alike = torch.tensor(FoldedBands.start).view(1, -1, 1, 1).expand(1, -1, 32, 32)
    fused = CoCoNetMethod(fresh_network(PRESETS["compact"]), "", CPU).fuse(reference, other)
    assert torch.allclose(fused, FoldedBands()(alike, other, reference), atol=1e-6)


def pair(set_name: str, other: np.ndarray) -> SlicePair:
    return SlicePair("1", set_name, "patient", np.zeros_like(other), other)


def test_the_target_of_a_ct_is_its_brightest_fiftieth_and_all_that_is_cut_at_white() -> None:
    ramp = np.arange(10_000).reshape(100, 100) // 40
    assert np.array_equal(target_region(pair("CT-MRI", ramp)), ramp >= 245)
    skull = np.full((100, 100), 60)
    skull[:20] = 255
    assert np.array_equal(target_region(pair("CT-MRI", skull)), skull == 255)


@pytest.mark.parametrize("set_name", ["PET-MRI", "SPECT-MRI"])
def test_the_target_of_uptake_is_the_hottest_tenth_of_what_is_not_black(set_name: str) -> None:
    uptake = np.zeros((100, 100), dtype=np.uint8)
    uptake[40:60, 40:50] = np.arange(1, 201).reshape(20, 10)
    region = target_region(pair(set_name, uptake))
    assert np.array_equal(region, uptake > 180) and region.sum() == 20


@pytest.mark.parametrize("set_name", ["CT-MRI", "PET-MRI"])
def test_an_empty_slice_has_no_target(set_name: str) -> None:
    assert not target_region(pair(set_name, np.zeros((8, 8), dtype=np.uint8))).any()


def test_the_target_moves_with_the_other_source_and_stays_all_or_nothing() -> None:
    torch.manual_seed(4)
    reference = torch.rand(4, 1, 96, 96)
    other = torch.zeros(4, 1, 96, 96)
    other[..., 20:70, 30:80] = 1
    keeping = Augmentation(crop=64, gamma=1.0, window_share=0.0, noise_share=0.0)
    module = training_of(keeping)
    _, moved, target = module.changed(reference, other, other.clone())
    assert set(target.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(target, (moved > 0.5).float())


def training_of(augmentation: Augmentation) -> CoCoNetTraining:
    return CoCoNetTraining(
        fresh_network(NARROW),
        lambda terms: LOSSES["paper"](terms, 1.0),
        augmentation,
        1e-3,
        1,
        Stages(encoder=0, main=1, contrast=0),
    )


def test_the_contrast_is_the_ratio_of_distances_that_it_is_said_to_be() -> None:
    """Features that are the image itself; levels of grey, a quarter of the slice as target."""
    values = torch.tensor([0.0, 0.2, 0.4]).view(3, 1, 1, 1)
    reference, other = values.expand(3, 1, 8, 8), (values + 0.3).expand(3, 1, 8, 8)
    fused = (values + 0.1).expand(3, 1, 8, 8)
    target = torch.zeros(3, 1, 8, 8)
    target[..., :4, :4] = 1
    terms = coupled_contrast(lambda image: [image] * 5, fused, reference, other, target)
    away = {
        "target": sum((fused - reference.roll(-step, 0)).abs().mean() for step in range(3)),
        "background": sum((fused - other.roll(-step, 0)).abs().mean() for step in range(3)),
    }
    assert terms["target contrast"].item() == pytest.approx(
        float(sum(STAGES) * 0.2 / away["target"]), 1e-4
    )
    assert terms["background contrast"].item() == pytest.approx(
        float(sum(STAGES) * 0.1 / away["background"]), 1e-4
    )


def test_nothing_is_better_than_the_target_of_the_other_in_the_rest_of_the_reference() -> None:
    torch.manual_seed(3)
    reference, other = torch.rand(2, 4, 1, 32, 32)
    target = (torch.rand(4, 1, 32, 32) > 0.7).float()
    module = training_of(Augmentation(crop=32))
    ideal = other * target + reference * (1 - target)
    with torch.no_grad():
        best = coupled_contrast(module.features, ideal, reference, other, target)
        maximum = torch.maximum(reference, other)
        worse = coupled_contrast(module.features, maximum, reference, other, target)
    for name, term in best.items():
        assert term.abs() < 1e-5 < worse[name]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_last_stage_adds_the_contrast_to_all_terms_of_the_main_stage(loss: str) -> None:
    torch.manual_seed(3)
    batch = torch.rand(3, 3, 1, 64, 64)
    names = []
    for last in (False, True):
        module = CoCoNetTraining(
            fresh_network(NARROW),
            lambda terms: LOSSES[loss](terms, 1.0),
            Augmentation(crop=64),
            1e-3,
            1,
            Stages(encoder=0, main=0 if last else 1, contrast=int(last)),
        )
        names.append(list(module.terms(*batch)))
    assert len(names[1]) == len(names[0]) + 2
    assert set(names[1]) - set(names[0]) == {"target contrast", "background contrast"}


def test_a_contrast_needs_three_pairs() -> None:
    image = torch.rand(2, 1, 8, 8)
    with pytest.raises(ValueError, match="3 pairs in a batch, not 2"):
        coupled_contrast(lambda image: [image] * 5, image, image, image, image)


def test_entropy_is_that_of_each_slice_alone() -> None:
    """8 grey values equally often are 3 bits, in whatever batch."""
    eight = (torch.arange(64) % 8 / 7).view(1, 1, 8, 8)
    found = entropy(torch.cat([torch.rand(1, 1, 8, 8), eight, torch.zeros(1, 1, 8, 8)]))
    assert found[1:].tolist() == pytest.approx([3.0, 0.0], abs=1e-5)


def test_the_loss_of_black_slices_is_finite() -> None:
    black = torch.zeros(2, 1, 32, 32, requires_grad=True)
    torch.stack(list(main_terms(black, black.detach(), black.detach()).values())).sum().backward()
    assert black.grad is not None and black.grad.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("preset", ["compact", "paper"])
def test_each_map_of_the_encoder_is_drawn_at_the_size_of_the_slice(preset: str) -> None:
    architecture = PRESETS[preset]
    network, deeper = CoCoNet(architecture), DeeperBlocks(architecture)
    image = torch.rand(1, 1, 64, 64)
    folded = network.signed(image)
    maps = [*network.encoder(folded), *deeper.stages(network.encoder, folded)]
    assert len(maps) == 8
    assert Redrawing(architecture)(maps, image).shape == (8,)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three training pairs and a dev pair."""
    return write_noise_pairs(tmp_path / "data", [("CT-MRI", "train")] * 3 + [("PET-MRI", "dev")])


SMALL = {"steps": 1, "batch_size": 3, "crop": 64, "seed": 7, "averaging": 0.0}
SHARES = {"epochs": 3, "encoder_share": 0.3, "contrast_share": 0.3}


def test_pairs_come_with_their_target(data: Path) -> None:
    other = np.zeros((4, 4), dtype=np.uint8)
    other[1, 2] = 200
    _, image, target = TargetPairDataset([pair("PET-MRI", other)])[0]
    assert torch.equal(target, (image > 0).float())


@pytest.mark.parametrize("loss", ["paper", "legible"])
def test_one_run_trains_the_encoder_then_the_network_that_looks_through_it(
    data: Path, tmp_path: Path, loss: str
) -> None:
    settings = CoCoNetSettings(data=str(data), loss=loss, **SHARES, **SMALL)
    assert stages_of(settings) == Stages(encoder=1, main=1, contrast=1)
    network, _ = load_network(train_coconet(settings, tmp_path / "run", ON_CPU))
    assert network.architecture == PRESETS["compact"]
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == 2


def test_the_first_stage_trains_the_encoder(data: Path, tmp_path: Path) -> None:
    settings = CoCoNetSettings(
        data=str(data), epochs=2, encoder_share=0.5, contrast_share=0.0, **SMALL
    )
    assert stages_of(settings) == Stages(encoder=1, main=1, contrast=0)
    trained, _ = load_network(train_coconet(settings, tmp_path / "run", ON_CPU))
    still = dataclasses.replace(settings, learning_rate=0.0)
    fresh, _ = load_network(train_coconet(still, tmp_path / "still", ON_CPU))
    for part in ("encoder", "projection"):
        assert not alike(fresh, trained, part), part


def test_a_run_that_begins_with_weights_leaves_their_encoder_as_it_is(
    data: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first.safetensors"
    torch.manual_seed(5)
    save_network(fresh_network(PRESETS["compact"]).eval(), first)
    settings = CoCoNetSettings(data=str(data), start_from=str(first), **SHARES, **SMALL)
    network, _ = load_network(train_coconet(settings, tmp_path / "run", ON_CPU))
    before, _ = load_network(first)
    assert alike(before, network, "encoder") and not alike(before, network, "projection")


def alike(first: CoCoNet, second: CoCoNet, part: str) -> bool:
    pairs = zip(getattr(first, part).parameters(), getattr(second, part).parameters(), strict=True)
    return all(torch.equal(one, two) for one, two in pairs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoder_share": 0.0}, "needs an --encoder-share"),
        ({"encoder_share": 0.6, "contrast_share": 0.4}, "together below 1"),
        ({"contrast_share": -0.1}, "from 0 on"),
        ({"batch_size": 2}, "--batch-size of at least 3"),
        ({"epochs": 2}, "too few for the stages"),
    ],
)
def test_stages_that_cannot_be_trained_are_refused(change: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        stages_of(CoCoNetSettings(data="", **{"epochs": 10, **change}))
