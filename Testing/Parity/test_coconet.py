"""CoCoNet against tensors that the authors' own modules computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from parity_set import assert_close, part_of, read_case, weights_by_recipe
from torch import Tensor, nn
from torch.nn import functional as F
from typer.testing import CliRunner

from MedFusionLib.commands.import_weights import app
from MedFusionLib.errors import WeightsError
from MedFusionLib.methods.checkpoints import Rules, load_renamed
from MedFusionLib.methods.coconet import PRESETS, CoCoNet, create, from_author_state
from MedFusionLib.methods.coconet.network import ChannelAttention

ATTENTION: Rules = (
    (r"^query\.", "conv_1."),
    (r"^key\.", "conv_2."),
    (r"^value\.", "conv_3."),
    (r"^gain$", "gamma"),
)
UNUSED = 27_745 + 27_680
"""Parameters of se_32 and att_deconv9, which the authors' network holds and never calls."""


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "parity" / "coconet"


def made_up_state(folder: Path, metadata: dict[str, Any]) -> dict[str, Tensor]:
    shapes = json.loads((folder / "default_keys_shapes.json").read_text())["Unet_resize_conv"]
    counters = {key for key in shapes if key.endswith("num_batches_tracked")}
    state = weights_by_recipe(
        {key: shape for key, shape in shapes.items() if key not in counters},
        int(metadata["salt"], 16),
    )
    return state | {key: torch.tensor(0) for key in counters}


def unit(image: Tensor) -> Tensor:
    """From the authors' range, [-1, 1], to ours."""
    return (image + 1) / 2


@torch.no_grad()
def test_channel_attention_gives_what_the_authors_gives(folder: Path) -> None:
    tensors, _ = read_case(folder / "modules.safetensors")
    attention = ChannelAttention(6)
    load_renamed(attention, part_of(tensors, "CAM.param."), ATTENTION)
    assert attention.gain.abs() > 0
    assert_close(attention(tensors["CAM.in"]), tensors["CAM.out"], 1e-5)


@torch.no_grad()
@pytest.mark.parametrize("case", ["net_prng", "net_padded_prng"])
def test_the_network_gives_the_authors_image_and_intermediates(folder: Path, case: str) -> None:
    tensors, metadata = read_case(folder / f"{case}.safetensors")
    network = from_author_state(made_up_state(folder, metadata))
    assert network.architecture == PRESETS["paper"]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters == int(metadata["params"]) - UNUSED
    seen = watched(network)
    first, second = tensors["in.first"], tensors["in.second"]
    left, right, top, bottom = margins(*first.shape[-2:])
    images = (F.pad(image, (left, right, top, bottom), mode="reflect") for image in (first, second))
    fused = network(*(unit(image) for image in images))
    fused = fused[..., top : fused.shape[-2] - bottom, left : fused.shape[-1] - right]
    assert_close(2 * fused - 1, tensors["out.fused"])
    assert_close(255 * fused, tensors["out.post_x127.5+127.5"])
    names = {key.removesuffix(".absmean") for key in tensors if key.endswith(".absmean")}
    gains = {f"mid.se_{width}.call{call}.out1" for width in (64, 128, 256) for call in range(3)}
    assert names - gains == {f"mid.{name}" for name in seen}
    for name, maps in seen.items():
        assert_close(maps[:, :4, :16, :16], tensors[f"mid.{name}.first4ch"])
        assert_close(maps.abs().mean().view(1), tensors[f"mid.{name}.absmean"])


def margins(height: int, width: int) -> tuple[int, int, int, int]:
    """Pixels that the authors mirror to the left, right, top and bottom, the half rounded down."""
    tall, wide = -height % 16, -width % 16
    return wide // 2, wide - wide // 2, tall // 2, tall - tall // 2


def test_the_authors_margins_are_understood(folder: Path) -> None:
    tensors, _ = read_case(folder / "modules.safetensors")
    for size in ("16x32", "20x33", "37x31"):
        image = tensors[f"pad.{size}.in"]
        expected = tensors[f"pad.{size}.lrtb"].tolist()
        assert list(margins(*image.shape[-2:])) == expected
        assert torch.equal(F.pad(image, expected, mode="reflect"), tensors[f"pad.{size}.out"])


def watched(network: CoCoNet) -> dict[str, Tensor]:
    """What the parts of the network give, under the authors' names."""
    parts: dict[str, nn.Module] = {"conv10": network.projection}
    for level in range(3):
        for step in range(2):
            place = f"{level + 1}_{step + 1}"
            parts[f"conv{place}"] = network.levels[level][step][0]
            parts[f"bn{place}"] = network.levels[level][step]
            place = f"{9 - level}_{step + 1}"
            parts[f"conv{place}"] = network.ascents[level][step][0]
            parts[f"bn{place}"] = network.ascents[level][step]
        parts[f"deconv{8 - level}"] = network.doublings[level]
    # The last step is not normalised.
    del parts["bn9_2"]
    for place, step in (("4_1", network.descent), ("4_2", network.bottom)):
        parts[f"conv{place}"], parts[f"bn{place}"] = step[0], step
    for joining, name in zip(
        network.joinings, ("att_deconv8", "att_deconv7", "deconv4"), strict=True
    ):
        parts[name] = joining
    seen: dict[str, Tensor] = {}
    for name, part in parts.items():
        part.register_forward_hook(lambda module, inputs, out, name=name: seen.update({name: out}))
    network.projection.register_forward_hook(
        lambda module, inputs, out: seen.update({"tanh": torch.tanh(out)})
    )
    watch_repeated(network, seen)
    return seen


def watch_repeated(network: CoCoNet, seen: dict[str, Tensor]) -> None:
    """The parts that are used more than once; the authors look at the second image first."""

    def encoded(module: nn.Module, inputs: Any, levels: list[Tensor]) -> None:
        call = 0 if "vgg19.call1.out0" in seen else 1
        seen.update({f"vgg19.call{call}.out{level}": maps for level, maps in enumerate(levels)})

    network.encoder.register_forward_hook(encoded)
    for joining, width in zip(network.joinings, (64, 128, 256), strict=True):

        def attended(module: nn.Module, inputs: Any, out: Tensor, width: int = width) -> None:
            call = sum(f"se_{width}.call{number}.out0" in seen for number in range(3))
            seen[f"se_{width}.call{call}.out0"] = out

        joining.attention.register_forward_hook(attended)


def import_weights(checkpoint: Path, target: Path) -> Exception | None:
    result = CliRunner().invoke(app, ["coconet", str(checkpoint), "-o", str(target)])
    return result.exception


def test_imported_weights_fuse_like_the_authors_network(folder: Path, tmp_path: Path) -> None:
    tensors, metadata = read_case(folder / "net_prng.safetensors")
    state = {f"module.{key}": value for key, value in made_up_state(folder, metadata).items()}
    torch.save(state, tmp_path / "latest.pth")
    assert import_weights(tmp_path / "latest.pth", tmp_path / "coconet.safetensors") is None
    method = create(torch.device("cpu"), weights=tmp_path / "coconet.safetensors")
    reference, other = unit(tensors["in.first"]), unit(tensors["in.second"])
    expected = unit(tensors["out.fused"]) * (torch.maximum(reference, other) > 0)
    assert_close(method.fuse(reference, other), expected)
    assert method.stride == 16


def test_checkpoint_of_another_network_is_refused_and_nothing_written(
    folder: Path, tmp_path: Path
) -> None:
    _, metadata = read_case(folder / "net_prng.safetensors")
    target = tmp_path / "coconet.safetensors"
    whole = made_up_state(folder, metadata)
    lacking = {key: value for key, value in whole.items() if key != "deconv7.weight"}
    for state, said in (
        (lacking, "lacks deconv7.weight"),
        ({"stranger": torch.zeros(2)}, "no complete checkpoint of CoCoNet"),
        ({**whole, "stranger": torch.zeros(2)}, "has the unknown stranger"),
        ({**whole, "stranger": print}, "cannot be read safely"),
    ):
        torch.save(state, tmp_path / "latest.pth")
        error = import_weights(tmp_path / "latest.pth", target)
        assert isinstance(error, WeightsError) and said in str(error)
    assert not target.exists()
