"""Hi-Net against tensors that the authors' own modules computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from parity_set import assert_close, part_of, read_case, weights_by_recipe
from torch import Tensor, nn

from MedFusionLib.methods.checkpoints import Rules, filled_renamed
from MedFusionLib.methods.hinet import PRESETS, HiNet, from_author_state
from MedFusionLib.methods.hinet.network import MixedFusion, convolutions, leaky, rectified
from MedFusionLib.training.hinet_discriminator import Discriminator

FUSION: Rules = ((r"^mixing\.", "layer1."), (r"^joining\.", "layer2."))
MODES = ("eval", "train")


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "parity" / "hinet"


def made_up_state(folder: Path, part: str, salt: str, gain: float) -> dict[str, Tensor]:
    shapes = json.loads((folder / "default_keys_shapes.json").read_text())[part]
    floating = {key: shape for key, shape in shapes.items() if shape}
    return weights_by_recipe(floating, int(salt, 16), gain)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("case", "module", "rules"),
    [
        ("MixedFusion_Block0_leaky", MixedFusion(4, 6, leaky, takes_earlier=False), FUSION),
        ("MixedFusion_Block_leaky", MixedFusion(4, 6, leaky), FUSION),
        ("MixedFusion_Block_relu", MixedFusion(4, 3, rectified), FUSION),
        ("conv_decod_block", convolutions(4, 3, rectified), ()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@torch.no_grad()
def test_each_block_gives_what_the_authors_gives(
    folder: Path, case: str, module: nn.Module, rules: Rules, mode: str
) -> None:
    tensors, _ = read_case(folder / "modules.safetensors")
    module = filled_renamed(module, part_of(tensors, f"{case}.param."), rules)
    stored = part_of(tensors, f"{case}.in")
    inputs = [stored[key] for key in sorted(stored)]
    if mode == "eval":
        undo_a_training_pass(module, inputs)
    given = module.train(mode == "train")(*inputs)
    assert_close(given, tensors[f"{case}.out_{mode}"], 1e-5)


def undo_a_training_pass(module: nn.Module, inputs: list[Tensor]) -> None:
    """The set holds the blocks' statistics as the pass in training mode left them.

    Such a pass sets s to 0.9 s + 0.1 b; one of momentum -1/9 leads back from there.
    """
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = -1 / 9
    module.train()(*inputs)


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_the_discriminator_gives_the_authors_map(folder: Path, mode: str) -> None:
    tensors, metadata = read_case(folder / "modules.safetensors")
    state = made_up_state(folder, "discriminator", metadata["salt"], 1.0)
    network = filled_renamed(Discriminator(), state, ((r"^", "model."),))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters == metadata["config"]["discriminator_params"]
    given = network.train(mode == "train")(tensors["discriminator_prng.in"])
    assert_close(given, tensors[f"discriminator_prng.out_{mode}"])


def generator(folder: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> HiNet:
    state = part_of(tensors, "param.")
    if not state:
        gain = float(metadata["gain"])
        state = made_up_state(folder, "generator", metadata["salt"], gain)
    return from_author_state(state, ("T1", "T2"), "FLAIR")


@pytest.mark.parametrize("case", ["generator_small", "generator_default_prng"])
@torch.no_grad()
def test_the_generator_gives_the_authors_images_and_intermediates(folder: Path, case: str) -> None:
    tensors, metadata = read_case(folder / f"{case}.safetensors")
    network = generator(folder, tensors, metadata)
    if case == "generator_default_prng":
        assert network.architecture == PRESETS["paper"]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters == int(metadata["params"])
    seen = watched(network)
    first, second = tensors["in.x"].chunk(2, dim=1)
    given = network(first, second)
    names = {key.split(".")[1] for key in tensors if key.endswith(".absmean")}
    assert names == set(seen)
    for name, maps in seen.items():
        assert_close(maps.abs().mean().view(1), tensors[f"mid_eval.{name}.absmean"])
        assert_close(maps[:, :4, :24, :24], tensors[f"mid_eval.{name}.first4ch"])
    assert_images(given, tensors, "out_eval")
    assert_images(network.train()(first, second), tensors, "out_train")


def assert_images(given: Any, tensors: dict[str, Tensor], prefix: str) -> None:
    assert_close(given.target, tensors[f"{prefix}.target"])
    assert_close(given.first, tensors[f"{prefix}.recon1"])
    assert_close(given.second, tensors[f"{prefix}.recon2"])


def watched(network: HiNet) -> dict[str, Tensor]:
    """What the parts of the network give, under the authors' names."""
    parts: dict[str, nn.Module] = {
        "down_fu_4": network.path.closing,
        "deconv_1_0": network.decoder.opening,
        "deconv_5_0": network.decoder.closing,
    }
    for index in range(3):
        parts[f"down_fu_{index + 1}"] = network.path.fusions[index]
        parts[f"deconv_{index + 2}_0"] = network.decoder.fusions[index]
        for side in range(2):
            parts[f"down_{index + 1}_{side}"] = network.encoders[side].levels[index]
    for index in range(6):
        for side in range(2):
            parts[f"deconv_{index + 1}_{side + 1}"] = network.rebuilders[side].blocks[index]
    seen: dict[str, Tensor] = {}

    def remember(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            seen.setdefault(name, output.clone())

        return hook

    for name, part in parts.items():
        part.register_forward_hook(remember(name))
    return seen
