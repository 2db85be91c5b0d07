"""EMMA's fusion network against tensors that the authors' own modules computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from parity_set import assert_close, part_of, read_case, weights_by_recipe
from torch import Tensor, nn
from typer.testing import CliRunner

from MedFusionLib.commands.import_weights import app
from MedFusionLib.errors import WeightsError
from MedFusionLib.methods.checkpoints import Rules, load_renamed
from MedFusionLib.methods.emma import PRESETS, Architecture, UFuser, create, from_author_state
from MedFusionLib.methods.emma.author_weights import RULES
from MedFusionLib.methods.emma.network import GlobalAndLocal, ResidualBlock

LOCAL: Rules = (
    (r"^(\d)\.first\.", r"Extraction.\1.conv.0."),
    (r"^(\d)\.second\.", r"Extraction.\1.conv.2."),
)
BLOCK: Rules = ((r"^", "."), *RULES, (r"^\.", ""))


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "parity" / "emma"


def made_up_state(folder: Path, metadata: dict[str, Any]) -> dict[str, Tensor]:
    shapes = json.loads((folder / "default_keys_shapes.json").read_text())["Ufuser"]
    return weights_by_recipe(shapes, int(metadata["salt"], 16))


@pytest.mark.parametrize(
    ("case", "module", "rules"),
    [
        ("LocalFeatureExtraction", nn.Sequential(ResidualBlock(6), ResidualBlock(6)), LOCAL),
        ("Restormer_CNN_block", GlobalAndLocal(3, 8, Architecture()), BLOCK),
    ],
    ids=["local", "both"],
)
@torch.no_grad()
def test_each_block_gives_what_the_authors_gives(
    folder: Path, case: str, module: nn.Module, rules: Rules
) -> None:
    tensors, _ = read_case(folder / "modules.safetensors")
    load_renamed(module, part_of(tensors, f"{case}.param."), rules)
    assert_close(module(tensors[f"{case}.in"]), tensors[f"{case}.out"], 1e-5)


@torch.no_grad()
def test_the_network_gives_the_authors_image_and_intermediates(folder: Path) -> None:
    tensors, metadata = read_case(folder / "ufuser_prng.safetensors")
    network = from_author_state(made_up_state(folder, metadata))
    assert network.architecture == PRESETS["paper"]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters == int(metadata["params"])
    seen = watched(network)
    fused = network(tensors["in.vis"], tensors["in.ir"])
    assert_close(fused, tensors["out.fused"])
    stretched = (fused - fused.min()) / (fused.max() - fused.min()) * 255
    assert_close(stretched, tensors["out.post_minmax255"])
    names = {key.removesuffix(".absmean") for key in tensors if key.endswith(".absmean")}
    assert names == {f"mid.{name}" for name in seen}
    for name, maps in seen.items():
        assert_close(maps[:, :4], tensors[f"mid.{name}.first4ch"])
        assert_close(maps.abs().mean().view(1), tensors[f"mid.{name}.absmean"])


def watched(network: UFuser) -> dict[str, Tensor]:
    """What the parts of the network give, under the authors' names."""
    parts: dict[str, nn.Module] = {}
    for level in range(4):
        parts[f"V_en_{level + 1}"] = network.reference_encoder.levels[level]
        parts[f"I_en_{level + 1}"] = network.other_encoder.levels[level]
        parts[f"f_{level + 1}"] = network.fusions[level]
        parts[f"de_{level + 1}"] = network.decoders[level]
    for level in range(3):
        parts[f"V_down{level + 1}"] = network.reference_encoder.halvings[level]
        parts[f"I_down{level + 1}"] = network.other_encoder.halvings[level]
        parts[f"up{level + 2}"] = network.doublings[level]
    seen: dict[str, Tensor] = {}
    for name, part in parts.items():
        part.register_forward_hook(lambda module, inputs, out, name=name: seen.update({name: out}))
    network.projection.register_forward_hook(
        lambda module, inputs, out: seen.update({"last": torch.sigmoid(out)})
    )
    return seen


def import_weights(checkpoint: Path, target: Path) -> Exception | None:
    result = CliRunner().invoke(app, ["emma", str(checkpoint), "-o", str(target)])
    return result.exception


def test_imported_weights_fuse_like_the_authors_network(folder: Path, tmp_path: Path) -> None:
    tensors, metadata = read_case(folder / "ufuser_prng.safetensors")
    state = {f"module.{key}": value for key, value in made_up_state(folder, metadata).items()}
    torch.save(state, tmp_path / "EMMA.pth")
    assert import_weights(tmp_path / "EMMA.pth", tmp_path / "emma.safetensors") is None
    method = create(torch.device("cpu"), weights=tmp_path / "emma.safetensors")
    reference, other = tensors["in.vis"], tensors["in.ir"]
    expected = tensors["out.fused"] * (torch.maximum(reference, other) > 0)
    assert_close(method.fuse(reference, other), expected)
    assert method.stride == 8


def test_checkpoint_of_another_network_is_refused_and_nothing_written(
    folder: Path, tmp_path: Path
) -> None:
    _, metadata = read_case(folder / "ufuser_prng.safetensors")
    state = made_up_state(folder, metadata)
    target = tmp_path / "emma.safetensors"
    del state["de_2.FFN.weight"]
    torch.save(state, tmp_path / "EMMA.pth")
    error = import_weights(tmp_path / "EMMA.pth", target)
    assert isinstance(error, WeightsError) and "lacks de_2.FFN.weight" in str(error)
    torch.save({"stranger": torch.zeros(2)}, tmp_path / "EMMA.pth")
    error = import_weights(tmp_path / "EMMA.pth", target)
    assert isinstance(error, WeightsError) and "no checkpoint of EMMA" in str(error)
    torch.save({**made_up_state(folder, metadata), "stranger": print}, tmp_path / "EMMA.pth")
    error = import_weights(tmp_path / "EMMA.pth", target)
    assert isinstance(error, WeightsError) and "cannot be read safely" in str(error)
    assert not target.exists()


@torch.no_grad()
def test_a_size_that_is_no_multiple_is_padded_where_the_authors_take_corner_crops(
    folder: Path,
) -> None:
    """The first crop of theirs, 32×64 pixels, is an image of its own."""
    tensors, metadata = read_case(folder / "tiled_inference_prng.safetensors")
    network = from_author_state(made_up_state(folder, metadata))
    with pytest.raises(ValueError, match="multiples of 8"):
        network(tensors["in.vis"], tensors["in.ir"])
    crop = (..., slice(0, 32), slice(0, 64))
    fused = network(tensors["in.vis"][crop], tensors["in.ir"][crop])[0, 0]
    # Later crops overwrite what they share with the first one.
    assert_close(fused[:13, :6] * 255, tensors["out.tiled_x255"][:13, :6], 255e-4)
