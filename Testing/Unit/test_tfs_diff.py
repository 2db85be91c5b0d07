"""TFS-Diff as a method of two or three sources, and its training: orders, absence, triples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from noise_slices import slices
from torch import Tensor
from training_pairs import write_noise_pairs
from typer.testing import CliRunner

from MedFusionLib.commands.train import app as train_app
from MedFusionLib.computing.slice_fusion import fuse_many_slices
from MedFusionLib.errors import InputError
from MedFusionLib.methods import create_method, method_card
from MedFusionLib.methods.average import create as average
from MedFusionLib.methods.several import for_several
from MedFusionLib.methods.tfs_diff import PRESETS, TFSDiff
from MedFusionLib.methods.tfs_diff.architecture import from_config
from MedFusionLib.methods.tfs_diff.outputs import BandsOutput
from MedFusionLib.methods.tfs_diff.weight_file import load_network, save_network
from MedFusionLib.methods.weighted_bands import FoldedBands, split
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.data import SlicePair
from MedFusionLib.training.lesions import fixed_lesions
from MedFusionLib.training.settings import Hardware, TFSDiffSettings
from MedFusionLib.training.tfs_diff_losses import denoising_terms, legible_terms
from MedFusionLib.training.tfs_diff_module import (
    TFSDiffTraining,
    coarse,
    fresh_network,
    present_lesions,
)
from MedFusionLib.training.tfs_diff_run import train_tfs_diff
from MedFusionLib.training.third_source import TripleDataset, made_skull, made_uptake

NARROW = replace(PRESETS["compact"], inner_channel=8)
ON_CPU = Hardware(accelerator="cpu", devices="1")


def three_slices(count: int) -> tuple[Tensor, list[Tensor]]:
    reference, other = slices(count)
    return reference, [other, reference.flip(-2)]


def test_the_card_counts_the_parameters() -> None:
    network = TFSDiff(PRESETS["compact"])
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert method_card("tfs-diff").parameters == counted


def test_three_slices_are_fused_alike_in_any_order_of_the_others_and_in_any_batch() -> None:
    method = create_method("tfs-diff", steps=2)
    reference, others = three_slices(2)
    together = fuse_many_slices(method, reference, others)
    assert torch.equal(fuse_many_slices(method, reference, others[::-1]), together)
    alone = fuse_many_slices(method, reference[1:], [other[1:] for other in others])
    assert torch.equal(alone, together[1:])
    assert together[..., :16].abs().max() == 0 < together.max() <= 1


def test_a_third_source_that_is_not_there_is_something_else_than_a_black_one() -> None:
    method = create_method("tfs-diff", steps=2)
    reference, other = (image[..., :64, :48] for image in slices(1))
    black = method.fuse_many(reference, [other, torch.zeros_like(other)])
    assert (method.fuse(reference, other) - black).abs().max() > 1e-4


def test_the_same_seed_gives_the_same_slice() -> None:
    images = [image[..., :64, :48] for image in slices(1)]
    first, again, another = (
        create_method("tfs-diff", steps=2, seed=seed).fuse(*images) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, another)


def test_more_than_three_volumes_are_refused_with_what_to_do() -> None:
    image = torch.zeros(1, 1, 32, 32)
    with pytest.raises(InputError, match=r"at most 3 volumes, not 4\. Leave volumes out"):
        create_method("tfs-diff").fuse_many(image, [image] * 3)


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 1001}, {"seed": -1}])
def test_impossible_steps_and_seeds_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="1 to 1000 steps"):
        create_method("tfs-diff", **options)


def test_gains_of_one_show_all_detail_of_three_sources_over_the_chosen_smooth_one() -> None:
    sources = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    output = BandsOutput()
    assert len(output.start) == output.channels
    one = float(torch.logit(torch.tensor(1 / 1.5)))
    details = [one] * (output.channels - 4)
    bands, smoothest = split(sources)
    ranked = smoothest.sort(dim=1, descending=True).values
    for chosen in range(3):
        base = [100.0 if number == chosen else -100.0 for number in range(3)]
        maps = torch.tensor([*details, *base, -100.0]).view(1, -1, 1, 1).expand(1, -1, 16, 24)
        expected = sum(bands).sum(1, keepdim=True) + ranked[:, chosen : chosen + 1]
        assert torch.allclose(output.weighed(maps, bands, smoothest), expected, atol=1e-5)


def test_an_untrained_network_of_two_and_of_three_shows_the_same_of_two_sources() -> None:
    reference, other = torch.rand(2, 1, 1, 32, 48, generator=torch.Generator().manual_seed(0))
    sources = torch.cat([reference, other, torch.zeros_like(other)], dim=1)
    output = BandsOutput(finest_gain=3.0)
    three, two = (
        torch.tensor(start).view(1, -1, 1, 1).expand(1, -1, 16, 24)
        for start in (output.start, FoldedBands.start)
    )
    start = output.denoiser(lambda noisy, level: three, sources)
    found = (start(sources[:, :1], torch.ones(1, 1)) + 1) / 2
    assert torch.allclose(found, FoldedBands().uncut(two, reference, other), atol=1e-5)


def test_the_finest_band_is_shown_at_most_as_it_stands_in_its_source() -> None:
    sources = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    output = BandsOutput(finest_gain=3.0)
    maps = torch.full((1, output.channels, 16, 24), 100.0)
    maps[:, -1:] = -100.0
    found = (output.denoiser(lambda noisy, level: maps, sources)(sources, torch.ones(1, 1)) + 1) / 2
    bands, smoothest = split(sources)
    expected = bands[0] + 1.5 * sum(bands[1:]) + smoothest
    assert torch.allclose(found, expected.sum(1, keepdim=True), atol=1e-5)


def test_a_file_that_names_no_finest_gain_is_read_with_that_of_the_other_bands() -> None:
    config = PRESETS["compact"].as_config()
    del config["finest_gain"]
    assert from_config(config).finest_gain == 1.5


def test_a_network_and_its_architecture_come_back_from_the_file(tmp_path: Path) -> None:
    network = fresh_network(PRESETS["compact"])
    save_network(network, tmp_path / "weights.safetensors")
    again, _ = load_network(tmp_path / "weights.safetensors")
    assert again.architecture == network.architecture
    pairs = zip(network.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_a_perfect_prediction_costs_nothing_and_similarity_counts_by_the_squared_level() -> None:
    clean, noise = torch.rand(2, 2, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    perfect = denoising_terms(noise, noise, clean, clean, torch.ones(2, 1))
    assert perfect["distance"] == 0 and perfect["similarity"] < 1e-6
    whole = denoising_terms(noise, noise, noise, clean, torch.ones(2, 1))["similarity"]
    half = denoising_terms(noise, noise, noise, clean, torch.full((2, 1), 0.5))["similarity"]
    assert torch.isclose(half, whole / 4)


def legible_module(**changed: float) -> TFSDiffTraining:
    settings = TFSDiffSettings(data="", crop=64, **changed)
    teacher = for_several(average(torch.device("cpu")))
    return TFSDiffTraining(fresh_network(NARROW), teacher, Augmentation(crop=64), settings)


def test_the_teachers_image_with_every_lesion_in_full_costs_nothing() -> None:
    sources = 0.3 + 0.3 * torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    lesions = fixed_lesions(*sources.split(1, dim=1), seed=1)
    change = (torch.cat(lesions.sources, dim=1) - sources).sum(1, keepdim=True)
    wanted = sources.mean(1, keepdim=True)
    perfect = legible_terms(wanted, wanted, change, sources, lesions, wanted, 1.0)
    assert all(float(term) == pytest.approx(0, abs=1e-4) for term in perfect.values())
    lost = legible_terms(wanted, wanted, 0 * change, sources, lesions, wanted, 2.0)
    assert float(lost["lesions"]) == pytest.approx(2 * 45, rel=1e-3)
    shifted = legible_terms(wanted + 0.1, wanted + 0.1, change, sources, lesions, wanted, 1.0)
    assert float(shifted["distance"]) == pytest.approx(40 * 0.1, rel=1e-3)


def test_an_absent_source_gets_no_lesion() -> None:
    sources = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    present = torch.tensor([[True, True, False], [True, True, True]])
    drawn = fixed_lesions(*sources.split(1, dim=1), seed=3)
    lesions = present_lesions(drawn, present)
    assert lesions.sources[2][0].amax() == 0 and torch.equal(
        lesions.sources[2][1:], drawn.sources[2][1:]
    )
    assert lesions.counted[0][drawn.place[0] == 2].sum() == 0
    assert torch.equal(lesions.profiles[1], drawn.profiles[1])


def test_slices_with_and_without_lesions_are_drawn_from_the_same_noise() -> None:
    module = legible_module()
    sources = torch.rand(2, 3, 64, 64).repeat(2, 1, 1, 1)
    # Only with maps that follow what is noisy does the noise show.
    torch.nn.init.normal_(module.network.unet.output_convolution.weight, std=0.1)
    drawn = module.on_the_way(sources, torch.ones(4, 3, dtype=torch.bool))
    assert torch.allclose(drawn[:2], drawn[2:], atol=1e-5)


def test_a_step_of_what_a_reader_must_see_lowers_its_loss() -> None:
    torch.manual_seed(0)
    module = legible_module(coarse_share=0.5)
    sources, present = torch.rand(2, 3, 64, 64), torch.ones(2, 3, dtype=torch.bool)
    wanted = module.wanted(sources, present[:, 2])
    optimizer = torch.optim.Adam(module.network.parameters(), lr=1e-3)

    def loss() -> Tensor:
        torch.manual_seed(1)
        return torch.stack(list(module.terms(sources, present, wanted).values())).sum()

    before = loss()
    before.backward()
    optimizer.step()
    assert loss() < before


def test_coarse_slices_have_some_or_all_sources_coarse_in_the_asked_share() -> None:
    torch.manual_seed(0)
    chosen = legible_module(coarse_share=0.4).chosen_for_coarse(4000).flatten(1)
    # In half of those slices all three, in the other half each source by chance.
    assert float(chosen.all(1).float().mean()) == pytest.approx(0.4 * (0.5 + 0.5 / 8), abs=0.03)
    assert float(chosen.float().mean()) == pytest.approx(0.4 * 0.75, abs=0.03)
    assert not legible_module(coarse_share=0.0).chosen_for_coarse(50).any()


def disc() -> Tensor:
    """A head: a grey disc of radius 40 in 128 pixels."""
    rows, columns = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    return (0.5 * ((rows - 64) ** 2 + (columns - 64) ** 2 < 40**2))[None, None].float()


def test_a_made_skull_is_a_closed_white_ring_and_made_uptake_is_smooth_and_inside() -> None:
    torch.manual_seed(0)
    head = disc()
    skull, uptake = made_skull(head), made_uptake(head)
    right = skull[0, 0, 64, 64:]
    below = skull[0, 0, 64:, 64]
    assert right.max() > 0.7 and below.max() > 0.7 and skull[0, 0, 64, 64] < 0.6
    assert uptake[0, 0, 64, 30:98].max() > 0.5
    outside = head == 0
    assert uptake[outside].max() < 0.5 * uptake.max()
    assert (uptake.diff(dim=-1)).abs().max() < 0.2


def test_the_third_source_is_another_modality_of_the_very_same_slice_or_made() -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (5, 64, 64), dtype=np.uint8)
    pairs = [
        SlicePair("a", "CT-MRI", "one", images[0], images[1]),
        SlicePair("b", "SPECT-MRI", "one", images[0], images[2]),
        SlicePair("c", "SPECT-MRI", "two", images[3], images[4]),
    ]
    dataset = TripleDataset(pairs)
    assert torch.equal(dataset[0][2], dataset[1][1]) and torch.equal(dataset[1][2], dataset[0][1])
    third = dataset[2][2]
    assert third.shape == (1, 64, 64) and 0 <= third.min() <= third.max() <= 1


def test_wanted_images_are_the_teachers_of_the_sources_that_are_there() -> None:
    module = legible_module()
    teacher = for_several(average(torch.device("cpu")))
    sources = torch.rand(2, 3, 32, 32)
    reference, other, third = sources.split(1, dim=1)
    found = module.wanted(sources, torch.tensor([True, False]))
    assert torch.allclose(found[1:], ((reference + other) / 2)[1:])
    assert torch.allclose(found[:1], teacher.fuse_many(reference, [other, third])[:1])


def test_coarse_sources_keep_their_size_and_lose_their_finest_detail() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(16).expand(1, 3, 32, 32)
    found = coarse(stripes)
    assert found.shape == stripes.shape
    assert (found[..., 8:24, 8:24] - 0.5).abs().max() < 0.1


@pytest.fixture
def data(tmp_path: Path) -> Path:
    pairs = [("CT-MRI", "train"), ("SPECT-MRI", "train"), ("CT-MRI", "dev")]
    return write_noise_pairs(tmp_path / "data", pairs)


def test_one_command_trains_and_writes_half_precision_weights(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = ["tfs-diff", "--data", str(data), "-o", str(folder), "--teacher", "additive"]
    small = ["--epochs", "1", "--steps", "1", "--batch-size", "2", "--crop", "32"]
    hardware = ["--accelerator", "cpu", "--devices", "1"]
    result = CliRunner().invoke(train_app, [*arguments, *small, *hardware])
    assert result.exception is None, result.output
    network, _ = load_network(folder / "weights.safetensors")
    assert network.architecture == PRESETS["compact"]
    assert (folder / "weights.safetensors").stat().st_size < 3e6


def test_settings_that_do_not_fit_are_refused_before_anything_is_written(
    data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    impossible = (
        (TFSDiffSettings(data=str(data), preset="paper"), "--absent-share 0"),
        (TFSDiffSettings(data=str(data), coarse_share=1.5), "from 0 to 1"),
        (TFSDiffSettings(data=str(data), crop=96), "--crop is a multiple of 64"),
        (TFSDiffSettings(data=str(data), preset="huge"), "no preset 'huge'"),
        (TFSDiffSettings(data=str(data), loss="sharp"), "no loss 'sharp'"),
        (TFSDiffSettings(data=str(data), preset="paper", absent_share=0), "--loss teacher"),
    )
    for settings, told in impossible:
        with pytest.raises(InputError, match=told):
            train_tfs_diff(settings, folder, ON_CPU)
    assert not folder.exists()
