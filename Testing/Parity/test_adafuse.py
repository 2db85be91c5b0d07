"""AdaFuse against tensors that the authors' own modules computed."""

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
from MedFusionLib.methods.adafuse import PRESETS, AdaFuse, create, from_author_state
from MedFusionLib.methods.adafuse.author_weights import RULES
from MedFusionLib.methods.adafuse.fusion import (
    CrossAttentionFusion,
    SpatialFrequencyFusion,
    TokenTransformer,
)
from MedFusionLib.methods.asfe.encoder import BlurredDownsampling
from MedFusionLib.methods.blocks.patch_attention import AttentionInputs
from MedFusionLib.methods.checkpoints import Rules, load_renamed

INSIDE: Rules = ((r"^", "."), *RULES, (r"^\.", ""))
TRANSFORMER: Rules = (
    (r"^", ".transformers1.0."),
    *RULES,
    (r"^\.TransformerEncoderBlocks1\.0\.", ""),
)
INPUTS: Rules = ((r"^", ".inputs1."), *RULES, (r"^\.QKV_Block1\.", ""))


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "parity" / "adafuse"


@pytest.mark.parametrize(
    ("case", "module", "rules"),
    [
        ("QKV_Block", AttentionInputs(12, 2), INPUTS),
        ("TransformerEncoderBlock", TokenTransformer(12, 3), TRANSFORMER),
        ("caf", CrossAttentionFusion(3, 4, 16, 2, 1), INSIDE),
        ("ssf", SpatialFrequencyFusion(3, 4, 16, 2, 1, "published"), INSIDE),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@torch.no_grad()
def test_each_part_gives_what_the_authors_gives(
    folder: Path, case: str, module: nn.Module, rules: Rules
) -> None:
    tensors, _ = read_case(folder / "modules.safetensors")
    expected = module.state_dict()
    state = part_of(tensors, f"{case}.param.")
    live = {key: value for key, value in state.items() if not _is_dead(key)}
    assert len(live) == len(expected)
    load_renamed(module, live, rules)
    inputs = [value for key, value in sorted(tensors.items()) if key.startswith(f"{case}.in")]
    found = module(*inputs)
    if case == "QKV_Block":
        for index, part in enumerate(found):
            assert_close(part, tensors[f"{case}.out{index + 1}"], 1e-5)
    else:
        assert_close(found, tensors[f"{case}.out"], 1e-5)


def _is_dead(key: str) -> bool:
    """What the published model owns and never uses."""
    if key.startswith(("decoder.", "conv1x1.")):
        return True
    return "QKV_Block" in key and any(part in key for part in ("attn.proj", "norm2", "mlp."))


def made_up_state(folder: Path, metadata: dict[str, Any], name: str) -> dict[str, Tensor]:
    """Weights by the recipe, in the shapes of the file's configuration."""
    shapes = json.loads((folder / "default_keys_shapes.json").read_text())[name]
    config = metadata["config"]
    if config:
        shapes = _resized(shapes, config["patch_size"], config["dim"], config["fusionblock_depth"])
    learned = {key: shape for key, shape in shapes.items() if not key.endswith("batches_tracked")}
    state = weights_by_recipe(learned, int(metadata["salt"], 16))
    for key in state:
        if key.endswith(".filt"):
            state[key] = BlurredDownsampling(state[key].shape[0]).kernel
    return state


def _resized(
    shapes: dict[str, list[int]], patch: int, dim: int, depths: list[int]
) -> dict[str, list[int]]:
    """The default shapes with another patch, token and depth; only the fusions have them."""
    resized = {}
    for key, shape in shapes.items():
        parts = key.split(".")
        if "TransformerEncoderBlocks" in key and int(parts[3]) >= depths[int(parts[0][-1]) - 1]:
            continue
        if key.startswith("fusionnet") and parts[1].startswith("FusionBlock"):
            width = (112, 160, 208, 256)[int(parts[0][-1]) - 1]
            if "patchembed" in key and len(shape) == 4:
                shape = [dim, width, patch, patch]
            sides = {256: dim, 768: 3 * dim, 1024: 4 * dim, 256 * width: patch**2 * width}
            if "patchembed" not in key or len(shape) == 1:
                shape = [sides.get(side, side) for side in shape]
        resized[key] = shape
    return resized


CASES = [
    ("net_small_prng", "adafuse"),
    ("net_small_shared_encoder_prng", "adafuse_share_encoder"),
]


@pytest.mark.parametrize(("case", "name"), CASES)
@torch.no_grad()
def test_the_network_gives_the_authors_image_and_intermediates(
    folder: Path, case: str, name: str
) -> None:
    tensors, metadata = read_case(folder / f"{case}.safetensors")
    heads = metadata["config"]["num_heads"]
    state = made_up_state(folder, metadata, name)
    parameters = sum(value.numel() for key, value in state.items() if _is_parameter(key))
    assert parameters == int(metadata["params"])
    network = from_author_state(state, heads)
    seen = watched(network)
    fused = network(tensors["in.img1"], tensors["in.img2"])
    assert_close(fused, tensors["out.fused"])
    stretched = (fused - fused.min()) / (fused.max() - fused.min()) * 255
    assert_close(stretched, tensors["out.post_minmax255"])
    for key, maps in seen.items():
        assert_close(maps[:, :4, :16, :16], tensors[f"mid.{key}.first4ch"])
        assert_close(maps.abs().mean().view(1), tensors[f"mid.{key}.absmean"])


def _is_parameter(key: str) -> bool:
    return not key.endswith((".filt", "running_mean", "running_var"))


def watched(network: AdaFuse) -> dict[str, Tensor]:
    """What the parts of the network give, under the authors' names."""
    parts: dict[str, nn.Module] = {"outlayer": network.projection}
    for level in range(4):
        parts[f"conv_up{level + 1}"] = network.decoder.blocks[level]
        parts[f"fusionnet{level + 1}"] = network.fusions[level]
        parts[f"fusionnet{level + 1}.FusionBlock1"] = network.fusions[level].frequency
        parts[f"fusionnet{level + 1}.FusionBlock2"] = network.fusions[level].spatial
    seen: dict[str, Tensor] = {}
    for key, part in parts.items():
        part.register_forward_hook(lambda module, inputs, out, key=key: seen.update({key: out}))
    return seen


def test_gradients_reach_both_images_as_in_the_authors_network(folder: Path) -> None:
    tensors, metadata = read_case(folder / "net_small_prng.safetensors")
    network = from_author_state(made_up_state(folder, metadata, "adafuse"), 2).double()
    images = [tensors[f"in.img{index}"].double().requires_grad_() for index in (1, 2)]
    gradients = torch.autograd.grad(network(*images).sum(), images)
    for index, gradient in enumerate(gradients, start=1):
        expected = tensors[f"grad.sum_out.img{index}"]
        assert (gradient - expected).norm() <= 1e-3 * expected.norm()


def test_the_default_weights_fit_the_paper_preset(folder: Path) -> None:
    shapes = json.loads((folder / "default_keys_shapes.json").read_text())["adafuse"]
    _, metadata = read_case(folder / "net_default_prng.safetensors")
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
        live = sum(p.numel() for p in AdaFuse(PRESETS["paper"]).parameters())
    owned = sum(value.numel() for key, value in state.items() if _is_parameter(key) and value.dim())
    assert owned == int(metadata["params"])
    assert live < owned - int(metadata["params_unused"])


def import_weights(checkpoint: Path, target: Path) -> Exception | None:
    arguments = ["adafuse", str(checkpoint), "-o", str(target), "--heads", "2"]
    return CliRunner().invoke(app, arguments).exception


def test_imported_weights_fuse_like_the_authors_network(folder: Path, tmp_path: Path) -> None:
    tensors, metadata = read_case(folder / "net_small_prng.safetensors")
    state = made_up_state(folder, metadata, "adafuse")
    torch.save(state, tmp_path / "author.pth")
    assert import_weights(tmp_path / "author.pth", tmp_path / "adafuse.safetensors") is None
    method = create(torch.device("cpu"), weights=tmp_path / "adafuse.safetensors")
    reference, other = tensors["in.img2"], tensors["in.img1"]
    expected = tensors["out.fused"].clamp(0, 1) * (torch.maximum(reference, other) > 0)
    assert_close(method.fuse(reference, other), expected)
    assert method.stride == 32
    del state["conv_up3.conv1.bias"]
    torch.save(state, tmp_path / "author.pth")
    error = import_weights(tmp_path / "author.pth", tmp_path / "none.safetensors")
    assert isinstance(error, WeightsError) and "lacks conv_up3.conv1.bias" in str(error)
    assert not (tmp_path / "none.safetensors").exists()
