"""TFS-Diff against tensors that the authors' own modules computed."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from parity_set import assert_close, part_of, read_case, weights_by_recipe
from torch import Tensor, nn
from typer.testing import CliRunner

from MedFusionLib.commands.import_weights import app
from MedFusionLib.errors import InputError, WeightsError
from MedFusionLib.methods.blocks.channel_attention import ChannelAttention
from MedFusionLib.methods.checkpoints import Rules, author_key, load_renamed
from MedFusionLib.methods.dmfnet.author_weights import UNET_RULES
from MedFusionLib.methods.dmfnet.diffusion import (
    Diffusion,
    NoiseTarget,
    add_noise,
    clean_from_noise,
    make_schedule,
)
from MedFusionLib.methods.dmfnet.unet import Downsample, ResidualBlock, SelfAttention, Upsample
from MedFusionLib.methods.tfs_diff import PRESETS, TFSDiff, create, from_author_state
from MedFusionLib.methods.tfs_diff.author_weights import RULES
from MedFusionLib.methods.tfs_diff.weight_file import empty_network
from MedFusionLib.training.losses import dissimilarity

# The rules of the UNet name the parts of a stage; these stand alone.
BLOCK: Rules = ((r"^", ".residual."), *UNET_RULES, (r"^\.res_block\.", ""))
ATTENTION: Rules = ((r"^", ".attention."), *UNET_RULES, (r"^\.attn\.", ""))
RESIZING: Rules = ((r"^convolution\.", "conv."),)


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "parity" / "tfs_diff"


@pytest.fixture(scope="module")
def small(folder: Path) -> tuple[dict[str, Tensor], TFSDiff]:
    tensors, metadata = read_case(folder / "unet_small.safetensors")
    network = from_author_state(part_of(tensors, "param."), metadata["config"]["norm_groups"])
    return tensors, network


@torch.no_grad()
def test_the_modules_give_what_the_authors_give(folder: Path) -> None:
    tensors, _ = read_case(folder / "modules.safetensors")
    code = torch.zeros(0)
    cases: dict[str, tuple[nn.Module, Rules, tuple[Tensor, ...]]] = {
        "ResnetBlock": (
            ResidualBlock(6, 8, 5, 2, 0.0),
            BLOCK,
            (tensors["ResnetBlock.in_emb"].unsqueeze(1),),
        ),
        "SelfAttention": (SelfAttention(8, 4), ATTENTION, ()),
        "Downsample": (Downsample(4), RESIZING, (code,)),
        "Upsample": (Upsample(4), RESIZING, (code,)),
    }
    for name, (module, rules, further) in cases.items():
        load_renamed(module, part_of(tensors, f"{name}.param."), rules)
        assert_close(module.eval()(tensors[f"{name}.in"], *further), tensors[f"{name}.out"], 1e-5)


@torch.no_grad()
def test_the_attention_scales_the_channels_as_the_authors_does(folder: Path) -> None:
    tensors, _ = read_case(folder / "modules.safetensors")
    part = part_of(tensors, "SE_block_12_4.")
    attention = ChannelAttention(12, 4)
    for ours, theirs in ((attention.squeeze, "linear1"), (attention.expand, "linear2")):
        ours.weight.copy_(part[f"param.{theirs}.weight"][..., None, None])
        ours.bias.copy_(part[f"param.{theirs}.bias"])
    assert_close(part["in"] * torch.sigmoid(attention(part["in"])), part["out"], 1e-5)


@pytest.mark.parametrize(
    "name", ["train_linear_4000", "quad", "warmup10", "warmup50", "const", "jsd", "cosine"]
)
def test_the_betas_of_a_schedule_equal_the_authors(folder: Path, name: str) -> None:
    tensors, metadata = read_case(folder / "schedules.safetensors")
    betas = torch.from_numpy(make_schedule(*metadata["config"][name]).betas)
    torch.testing.assert_close(betas, tensors[f"{name}.betas_f64"], rtol=1e-12, atol=1e-12)


def test_every_table_of_the_published_schedule_equals_the_authors(folder: Path) -> None:
    tensors, metadata = read_case(folder / "schedules.safetensors")
    schedule = make_schedule(*metadata["config"]["train_linear_4000"])
    stored = part_of(tensors, "train_linear_4000.")
    compared = schedule.tables().keys() & stored.keys()
    assert len(compared) >= 8
    for key in compared:
        torch.testing.assert_close(schedule.tables()[key], stored[key], rtol=1e-6, atol=1e-6)
    levels = torch.from_numpy(schedule.levels)
    expected = stored["sqrt_alphas_cumprod_prev_f64"]
    torch.testing.assert_close(levels, expected, rtol=1e-12, atol=1e-12)


def test_the_published_schedule_is_the_paper_presets(folder: Path) -> None:
    _, metadata = read_case(folder / "schedules.safetensors")
    paper = PRESETS["paper"]
    published = [paper.schedule, paper.n_timestep, paper.linear_start, paper.linear_end]
    assert published == metadata["config"]["train_linear_4000"]


def watched(network: TFSDiff) -> dict[str, Tensor]:
    """What the parts of the UNet return from now on, under the authors' names."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module) -> None:
        module.register_forward_hook(
            lambda module, inputs, output: seen.__setitem__(name, output.detach())
        )

    unet = network.unet
    keep("downs.0", unet.stem)
    parts = (("downs", unet.encoder, 1), ("mid", unet.middle, 0), ("ups", unet.decoder, 0))
    for kind, modules, first in parts:
        for number, module in enumerate(modules, first):
            keep(f"{kind}.{number}", module)
    keep("noise_embed", unet.noise_embedding)
    keep("final_conv", unet.output_convolution)
    return seen


def assert_intermediates(seen: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    compared = 0
    for name, maps in seen.items():
        for key in (f"mid.{name}", f"mid.{name}.first4ch"):
            if key in tensors:
                expected = tensors[key]
                found = maps[tuple(slice(size) for size in expected.shape)]
                assert_close(found, expected)
                compared += 1
        if f"mid.{name}.absmean" in tensors:
            assert_close(maps.abs().mean().view(1), tensors[f"mid.{name}.absmean"])
    assert compared >= 10


@torch.no_grad()
def test_the_small_network_gives_the_authors_noise_and_intermediates(small) -> None:
    tensors, network = small
    seen = watched(network)
    noisy = tensors["in.x"]
    assert_close(network(noisy[:, :9], noisy[:, 9:], tensors["in.noise_level"]), tensors["out"])
    assert_intermediates(seen, tensors)


@torch.no_grad()
def test_the_published_network_gives_the_authors_noise(folder: Path) -> None:
    tensors, metadata = read_case(folder / "unet_default_prng.safetensors")
    shapes = json.loads((folder / "default_keys_shapes.json").read_text())["unet"]
    state = weights_by_recipe(shapes, int(metadata["salt"], 16))
    network = from_author_state(state)
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert counted == int(metadata["params"])
    seen = watched(network)
    noisy = tensors["in.x"]
    assert_close(network(noisy[:, :9], noisy[:, 9:], tensors["in.noise_level"]), tensors["out"])
    assert_intermediates(seen, tensors)


def test_the_paper_preset_has_the_authors_keys_and_shapes(folder: Path) -> None:
    shapes = json.loads((folder / "default_keys_shapes.json").read_text())["unet"]
    found = {
        author_key(key, RULES): list(value.shape)
        for key, value in empty_network(PRESETS["paper"]).state_dict().items()
    }
    linear = {"SE_block.linear1.weight", "SE_block.linear2.weight"}
    assert found == {
        key: [*shape, 1, 1] if key in linear else shape for key, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def diffusing(folder: Path, small) -> tuple[dict[str, Tensor], dict[str, Any], TFSDiff]:
    tensors, metadata = read_case(folder / "diffusion_small.safetensors")
    return tensors, metadata["config"], small[1]


def diffusion_of(tensors: dict[str, Tensor], network: TFSDiff, schedule: dict) -> Diffusion:
    condition = tensors["in.cond_1_2_3_SR"]
    return Diffusion(
        lambda noisy, level: network(condition, noisy, level),
        make_schedule(**schedule),
        NoiseTarget(),
    )


@torch.no_grad()
def test_noising_equals_the_authors(diffusing) -> None:
    tensors, config, _ = diffusing
    schedule = make_schedule(**config["schedule"])
    level = tensors["p_losses.level"].unsqueeze(1)
    bounds = torch.tensor(schedule.level_bounds(int(tensors["p_losses.t"])), dtype=torch.float64)
    expected = tensors["p_losses.level_bounds_f64"].sort(descending=True).values
    torch.testing.assert_close(bounds, expected, rtol=1e-12, atol=1e-12)
    noisy = add_noise(tensors["in.HR"], tensors["in.noise"], level)
    assert_close(noisy, tensors["q_sample.out"], 1e-6)


def test_the_public_codes_loss_and_its_gradients_are_met_with_its_fault(diffusing) -> None:
    # It holds the predicted noise against the clean image; ours holds the reconstruction.
    tensors, config, network = diffusing
    network = copy.deepcopy(network)
    clean, noise = tensors["in.HR"], tensors["in.noise"]
    level = tensors["p_losses.level"].unsqueeze(1)
    optimiser = torch.optim.Adam(network.parameters(), lr=config["lr"])
    diffusion = diffusion_of(tensors, network, config["schedule"])
    predicted, wanted = diffusion.training_pair(clean, noise, level)
    assert_close(predicted, tensors["p_losses.net_out"])
    distance = (wanted - predicted).abs().sum()
    similarity = dissimilarity(clean, predicted).mean()
    assert_close(distance.view(1), tensors["loss.l1_sum"], 1e-5)
    assert_close(similarity.view(1), tensors["loss.ssim"], 1e-5)
    assert_close((distance + similarity).view(1), tensors["loss.total"], 1e-5)
    per_element = (distance + similarity) / clean.numel()
    assert_close(per_element.view(1), tensors["loss.l_pix"], 1e-5)
    per_element.backward()
    gradients = {author_key(key, RULES): p.grad for key, p in network.named_parameters()}
    stored = {key for key in part_of(tensors, "grad.") if key.endswith(".l2")}
    assert {f"{key}.l2" for key in gradients} == stored
    for key, gradient in gradients.items():
        norm = tensors[f"grad.{key}.l2"]
        assert (gradient.norm() - norm).abs() <= 1e-3 * norm + 1e-7
    optimiser.step()
    predicted, _ = diffusion.training_pair(clean, noise, level)
    total = (wanted - predicted).abs().sum() + dissimilarity(clean, predicted).mean()
    assert_close(total.detach().view(1), tensors["after_adam.loss.total"], 1e-3)


@torch.no_grad()
@pytest.mark.parametrize("index", [0, 1, 100, 199])
def test_one_reverse_step_equals_the_authors(diffusing, index: int) -> None:
    tensors, config, network = diffusing
    part = part_of(tensors, f"reverse.t{index}.")
    diffusion = diffusion_of(tensors, network, config["schedule"])
    noisy = tensors["in.noise"]
    level = torch.tensor([[diffusion.schedule.levels[index + 1]]])
    torch.testing.assert_close(level.float().expand(2, 1), part["level"], rtol=1e-6, atol=0)
    noise = diffusion.denoiser(noisy, part["level"])
    assert_close(noise, part["net_eps"])
    assert_close(clean_from_noise(noisy, noise, level), part["x0_unclipped"], 2e-4)
    mean, log_variance = diffusion.posterior(noisy, index)
    assert_close(mean, part["mean"])
    assert_close(log_variance, part["logvar"], 1e-5)


@torch.no_grad()
def test_the_chain_with_recorded_noise_ends_where_the_authors_does(diffusing) -> None:
    tensors, config, network = diffusing
    diffusion = diffusion_of(tensors, network, config["chain_schedule"])
    noisy = tensors["chain.noise_init"]
    for index in reversed(range(diffusion.schedule.step_count)):
        noisy, log_variance = diffusion.posterior(noisy, index)
        if index:
            noisy = noisy + (0.5 * log_variance).exp() * tensors[f"chain.noise.t{index}"]
    assert_close(noisy, tensors["chain.continuous_out"][-len(noisy) :])


def test_a_checkpoint_becomes_a_weight_file_that_fuses_three_and_refuses_two(
    folder: Path, small, tmp_path: Path
) -> None:
    tensors, _ = small
    state = {f"denoise_fn.{key}": value for key, value in part_of(tensors, "param.").items()}
    tables = make_schedule("linear", 20).tables()
    torch.save(state | tables, tmp_path / "gen.pth")
    target = tmp_path / "weights.safetensors"
    arguments = ["tfs-diff", str(tmp_path / "gen.pth"), "-o", str(target), "--norm-groups", "4"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    method = create(torch.device("cpu"), weights=target, steps=3)
    images = torch.rand(3, 1, 1, 16, 24).unbind()
    assert method.fuse_many(images[0], images[1:]).shape == images[0].shape
    with pytest.raises(InputError, match="know no absent one"):
        method.fuse(*images[:2])


def test_another_networks_checkpoint_is_refused(small) -> None:
    tensors, _ = small
    state = part_of(tensors, "param.")
    with pytest.raises(WeightsError, match=r"lacks downs\.0\.weight"):
        from_author_state({"conv.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"lacks SE_block\.linear1\.bias"):
        from_author_state({k: v for k, v in state.items() if k != "SE_block.linear1.bias"}, 4)
