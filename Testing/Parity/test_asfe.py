"""ASFE-Fusion against tensors that the authors' own modules computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from parity_set import weights_by_recipe
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from MedFusionLib.errors import WeightsError
from MedFusionLib.methods.asfe import PRESETS, ASFEFusion, from_author_state
from MedFusionLib.methods.asfe.architecture import Architecture
from MedFusionLib.methods.asfe.author_weights import RULES
from MedFusionLib.methods.asfe.decoder import DecoderBlock, DoubledSize
from MedFusionLib.methods.asfe.encoder import (
    AntiAliasedReduction,
    BlurredDownsampling,
    EncoderLevel,
)
from MedFusionLib.methods.asfe.experts import RootMeanSquareNorm, SpatialFrequencyExperts
from MedFusionLib.methods.asfe.frequency_fusion import AdaptiveFrequencyFilter
from MedFusionLib.methods.asfe.network import FusionModule
from MedFusionLib.methods.asfe.spatial_fusion import (
    AttentionInputs,
    CrossAttentionSpatialFusion,
    PatchEmbedding,
)
from MedFusionLib.methods.checkpoints import author_key
from MedFusionLib.training.asfe_losses import paper_loss, structure_tensor

SALT = 0x5EED


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "parity" / "asfe"


@pytest.fixture(scope="module")
def cases(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "modules.safetensors")


def small_network(folder: Path) -> tuple[ASFEFusion, dict[str, Tensor]]:
    path = folder / "net_small.safetensors"
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        config = {key: json.loads(value) for key, value in file.metadata().items()}
    arguments = {key: config[key] for key in ("widths", "patch", "dim", "heads")}
    return from_author_state(author_state(tensors, "param."), **arguments), tensors


def author_state(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def assert_close(found: Tensor, expected: Tensor) -> None:
    worst = ((found - expected).abs() / expected.abs().clamp(min=1)).max().item()
    assert worst <= 1e-4, f"worst difference {worst:.2e}"


def load(module: nn.Module, state: dict[str, Tensor], ours: str, theirs: str) -> nn.Module:
    """Fill a module with the authors' tensors.

    ``ours`` and ``theirs`` are its places in the two networks, because keys are translated whole.
    """
    wanted = {
        key: author_key(ours + key, RULES).removeprefix(theirs) for key in module.state_dict()
    }
    module.load_state_dict({key: state[author] for key, author in wanted.items()})
    return module.eval()


MODULES = {
    "AFF_even": (
        AdaptiveFrequencyFilter(6, "published"),
        "fusions.0.frequency1.",
        "fusionnet1.AFFusion2.",
    ),
    "AFF_odd": (
        AdaptiveFrequencyFilter(5, "published"),
        "fusions.0.frequency2.",
        "fusionnet1.AFFusion1.",
    ),
    "CASF": (
        CrossAttentionSpatialFusion(7, 4, 24, 3),
        "fusions.0.spatial.",
        "fusionnet1.CASFusion.",
    ),
    "SFEF_seq32": (
        SpatialFrequencyExperts(12, 4, 8),
        "fusions.0.mixture.",
        "fusionnet1.SFEFusion.",
    ),
    "SFEF_default": (
        SpatialFrequencyExperts(8, 4, 256),
        "fusions.0.mixture.",
        "fusionnet1.SFEFusion.",
    ),
    "FusionModule": (
        FusionModule(6, Architecture(patch=4, dim=16, heads=2)),
        "fusions.0.",
        "fusionnet1.",
    ),
    "ConvBlock_down": (
        EncoderLevel(5, 4, 6, AntiAliasedReduction(5)),
        "encoder.levels.1.",
        "encoder.block2.",
    ),
    "ConvBlock_down_first": (
        EncoderLevel(5, 4, 6, nn.Identity()),
        "encoder.levels.0.",
        "encoder.block1.",
    ),
    "ConvBlock_up": (DecoderBlock(5, 4, 6, DoubledSize()), "decoder.blocks.1.", "conv_up2."),
    "ConvBlock_up_last": (DecoderBlock(5, 4, 6, nn.Identity()), "decoder.blocks.0.", "conv_up1."),
}


@pytest.mark.parametrize("case", MODULES)
def test_each_block_gives_what_the_authors_block_gives(cases: dict[str, Tensor], case: str) -> None:
    module, ours, theirs = MODULES[case]
    load(module, author_state(cases, f"{case}.param."), ours, theirs)
    inputs = [cases[f"{case}.in{i}"] for i in range(2) if f"{case}.in{i}" in cases]
    with torch.no_grad():
        assert_close(module(*inputs), cases[f"{case}.out"])


@pytest.mark.parametrize("case", ["BlurPool_even", "BlurPool_odd_in"])
def test_blur_gives_the_authors_result(cases: dict[str, Tensor], case: str) -> None:
    blur = BlurredDownsampling(3)
    blur.kernel = cases[f"{case}.param.filt"]
    assert_close(blur(cases[f"{case}.in0"]), cases[f"{case}.out"])


def test_patches_of_an_image_that_is_no_multiple_are_filled_with_zeros(
    cases: dict[str, Tensor],
) -> None:
    embedding = PatchEmbedding(3, 8, 4)
    state = author_state(cases, "PatchEmbed_pad.param.proj.")
    embedding.projection.load_state_dict(state)
    with torch.no_grad():
        assert_close(embedding(cases["PatchEmbed_pad.in0"]), cases["PatchEmbed_pad.out"])


def test_queries_keys_and_values_are_the_authors(cases: dict[str, Tensor]) -> None:
    inputs = AttentionInputs(16, 4)
    inputs.norm.load_state_dict(author_state(cases, "QKVBlock.param.norm1."))
    inputs.qkv.load_state_dict(author_state(cases, "QKVBlock.param.attn.qkv."))
    with torch.no_grad():
        for index, part in enumerate(inputs(cases["QKVBlock.in0"]), start=1):
            assert_close(part, cases[f"QKVBlock.out{index}"])


def test_norm_scales_tokens_like_the_authors(cases: dict[str, Tensor]) -> None:
    norm = RootMeanSquareNorm(10)
    norm.gain.data = cases["RMSNorm.param.gamma"]
    with torch.no_grad():
        assert_close(norm(cases["RMSNorm.in0"]), cases["RMSNorm.out"])


def test_small_network_gives_the_authors_image_and_intermediates(folder: Path) -> None:
    network, tensors = small_network(folder)
    found: dict[str, Tensor] = {}

    def keep(name: str):
        return lambda module, inputs, output: found.update({name: output})

    for level in range(4):
        network.fusions[level].register_forward_hook(keep(f"mid.fusionnet{level + 1}.call0"))
        network.decoder.blocks[level].register_forward_hook(keep(f"mid.conv_up{level + 1}.call0"))
    with torch.no_grad():
        assert_close(network(tensors["in.img1"], tensors["in.img2"]), tensors["out.fused"])
    assert len(found) == 8
    for name, output in found.items():
        assert_close(output, tensors[name])


def test_training_step_has_the_authors_loss_and_statistics(folder: Path) -> None:
    network, step, fused, terms = training_step(folder, torch.float32)
    assert_close(fused, step["out.train_fused"])
    assert_close(torch.stack(list(terms.values())).sum().view(1), step["loss"])
    first = network.encoder.levels[0].norm1
    assert_close(first.running_mean, step["after.running_mean.block1.bn1"])
    assert_close(first.running_var, step["after.running_var.block1.bn1"])


def test_training_step_has_the_authors_gradients(folder: Path) -> None:
    """Ours in double precision, so that the rounding of one processor decides nothing.

    What is left is the rounding of the authors' single precision. Single elements of a gradient
    are small differences of large sums, so the parity set's limit for a network, 1e-4, is held
    by each tensor's norm. A bias in front of a batch normalisation has no influence at all: its
    gradient is 0, and the authors' is rounding beside that of its layer's weights.
    """
    network, step, _, terms = training_step(folder, torch.float64)
    # The authors' SSIM term is a number without gradient.
    (terms["content"] + terms["structure"]).backward()
    theirs = author_state(step, "grad.")
    ours = {author_key(key, RULES): parameter.grad for key, parameter in network.named_parameters()}
    assert ours.keys() == theirs.keys()
    normalised = [key for key, gradient in ours.items() if gradient.norm() < 1e-10]
    assert len(normalised) == 16
    for key, gradient in ours.items():
        scale = ours[key.replace(".bias", ".weight")] if key in normalised else gradient
        error = (theirs[key] - gradient).norm() / scale.norm()
        assert error <= 1e-4, f"{key}: {error:.2e}"


def training_step(
    folder: Path, dtype: torch.dtype
) -> tuple[ASFEFusion, dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """Network in training mode, the authors' step, our fused images and terms of the loss."""
    network, _ = small_network(folder)
    step = load_file(folder / "net_small_trainstep.safetensors")
    other, reference = step["in.img1_norm"].to(dtype), step["in.img2_norm"].to(dtype)
    fused = network.to(dtype).train()(other, reference)
    return network, step, fused, paper_loss(fused, reference, other)


def test_paper_network_gives_the_authors_image_on_weights_from_a_recipe(folder: Path) -> None:
    shapes = json.loads((folder / "default_config_keys_shapes.json").read_text())
    floating = {
        key: shape for key, shape in shapes.items() if not key.endswith("num_batches_tracked")
    }
    network = from_author_state(weights_by_recipe(floating, SALT))
    assert network.architecture == PRESETS["paper"]
    tensors = load_file(folder / "fullconfig_prng.safetensors")
    with torch.no_grad():
        assert_close(network(tensors["in.img1"], tensors["in.img2"]), tensors["out.fused"])


@pytest.mark.parametrize("case", ["smooth", "uniform"])
def test_paper_loss_has_the_authors_terms_and_gradient(folder: Path, case: str) -> None:
    tensors = author_state(load_file(folder / "losses.safetensors"), f"{case}.")
    fused = tensors["fused"].requires_grad_()
    terms = paper_loss(fused, reference=tensors["img2"], other=tensors["img1"])
    assert_close(structure_tensor(fused), tensors["structure_tensor_fused"])
    assert_close(2 * terms["content"], tensors["content_L2norm"])
    assert_close(2 * terms["structure"], tensors["log1p_structure"])
    assert_close(terms["similarity"], tensors["ssim_term(2-s1-s2)"])
    assert_close(torch.stack(list(terms.values())).sum(), tensors["total"])
    (gradient,) = torch.autograd.grad(terms["content"] + terms["structure"], fused)
    assert torch.allclose(gradient, tensors["dtotal_dfused"], atol=1e-7)


def test_ssim_term_of_the_paper_loss_has_a_gradient(folder: Path) -> None:
    tensors = author_state(load_file(folder / "losses.safetensors"), "smooth.")
    fused = tensors["fused"].requires_grad_()
    terms = paper_loss(fused, reference=tensors["img2"], other=tensors["img1"])
    (gradient,) = torch.autograd.grad(terms["similarity"], fused)
    assert gradient.abs().max() > 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("conv_up2.bn1.weight"), "lacks conv_up2.bn1.weight"),
        (lambda state: state.update(surplus=torch.zeros(1)), "has the unknown surplus"),
        (
            lambda state: state.update({"outlayer.weight": torch.zeros(1, 5, 1, 1)}),
            "outlayer.weight (1, 5, 1, 1) instead of (1, 16, 1, 1)",
        ),
    ],
)
def test_state_that_does_not_fit_is_refused_by_name(folder: Path, change, named: str) -> None:
    path = folder / "net_small.safetensors"
    state = author_state(load_file(path), "param.")
    change(state)
    with pytest.raises(WeightsError) as error:
        from_author_state(state, widths=[8, 14, 20, 26, 32], patch=4, dim=32, heads=4)
    assert named in str(error.value)


def test_state_without_the_parameters_that_never_reach_the_result_is_enough(folder: Path) -> None:
    whole, tensors = small_network(folder)
    state = author_state(tensors, "param.")
    lean = {key: value for key, value in state.items() if ".mlp." not in key}
    network = from_author_state(lean, widths=[8, 14, 20, 26, 32], patch=4, dim=32, heads=4)
    inputs = tensors["in.img1"], tensors["in.img2"]
    with torch.no_grad():
        assert torch.equal(network(*inputs), whole(*inputs))
