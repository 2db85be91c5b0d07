"""ASFE-Fusion as a fusion method: sizes, batches, background, memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from MedFusionLib.methods import method_card
from MedFusionLib.methods.asfe import PRESETS, Architecture, ASFEFusion
from MedFusionLib.methods.asfe.architecture import from_config
from MedFusionLib.methods.asfe.experts import SpatialFrequencyExperts
from MedFusionLib.methods.asfe.folding import fold_norms
from MedFusionLib.methods.asfe.method import ASFE, create
from MedFusionLib.methods.asfe.weight_file import load_network, save_network

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def method() -> ASFE:
    torch.manual_seed(0)
    return ASFE(ASFEFusion(PRESETS["compact"]), "", CPU)


def slices(count: int, side: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    reference, other = torch.rand(2, count, 1, side, side, generator=generator)
    reference[..., : side // 4] = other[..., : side // 4] = 0
    return reference, other


def test_a_slice_gives_the_same_result_alone_and_in_a_batch(method: ASFE) -> None:
    reference, other = slices(3)
    together = method.fuse(reference, other)
    for index in range(3):
        alone = method.fuse(reference[index : index + 1], other[index : index + 1])
        assert torch.allclose(alone, together[index : index + 1], atol=1e-5)


def test_background_of_both_sources_stays_exactly_black(method: ASFE) -> None:
    reference, other = slices(1)
    fused = method.fuse(reference, other)
    assert fused[..., :16].abs().max() == 0
    assert fused.min() >= 0 and fused.max() <= 1


def test_size_that_is_no_multiple_of_the_stride_is_refused_with_the_number(method: ASFE) -> None:
    image = torch.rand(1, 1, 64, 96)
    with pytest.raises(ValueError, match=r"multiples of 64 pixels, not 64×96"):
        method.fuse(image, image)


@pytest.mark.parametrize("size", [(13, 3), (8, 8)])
def test_experts_equal_the_two_softmax_products_they_are_written_from(size) -> None:
    torch.manual_seed(1)
    layer = SpatialFrequencyExperts(12, experts=4, slots=8)
    maps = torch.randn(2, 12, *size)
    tokens = layer.token_norm(maps.flatten(2).transpose(1, 2))
    slots = layer.slot_norm(layer.slots)
    logits = torch.einsum("bnd,esd->bnes", tokens, slots)
    dispatch = logits.softmax(dim=1)
    combine = logits.flatten(2).softmax(dim=-1)
    inputs = torch.einsum("bnd,bnes->besd", tokens, dispatch)
    answers = torch.stack([expert(inputs[:, e]) for e, expert in enumerate(layer.experts)], dim=1)
    naive = (combine @ answers.flatten(1, 2)).transpose(1, 2).unflatten(2, size)
    assert torch.allclose(layer(maps), naive, atol=1e-5)


@pytest.mark.parametrize("precision", method_card("asfe").reduced_precisions)
def test_an_offered_precision_changes_the_fused_slice_by_less_than_two_thousandths(
    shipped: ASFE, precision: str
) -> None:
    reference, other = F.avg_pool2d(torch.cat(slices(2, 128)), 2).chunk(2)
    exact = shipped.fuse(reference, other)
    with torch.autocast("cpu", getattr(torch, precision)):
        rounded = shipped.fuse(reference, other)
    assert (rounded - exact).abs().max() <= 2e-3


@pytest.fixture(scope="module")
def shipped() -> ASFE:
    return create(CPU)


def test_shipped_weights_fit_and_give_a_valid_image(shipped: ASFE) -> None:
    reference, other = slices(1, 128)
    fused = shipped.fuse(reference, other)
    assert fused.shape == (1, 1, 128, 128)
    assert torch.isfinite(fused).all()
    assert len(shipped.weights_sha256) == 64


def test_weight_file_gives_the_same_network_back(tmp_path: Path) -> None:
    torch.manual_seed(2)
    narrow = Architecture(widths=(4, 4, 6, 6, 8), patch=4, dim=8, heads=2, slots=4)
    network = ASFEFusion(narrow).eval()
    save_network(network, tmp_path / "asfe.safetensors")
    again, _ = load_network(tmp_path / "asfe.safetensors")
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(image, image), network(image, image))


def test_architecture_survives_its_way_through_the_manifest() -> None:
    for preset in PRESETS.values():
        assert from_config(preset.as_config()) == preset


def test_heads_that_do_not_divide_the_token_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of heads"):
        dataclasses.replace(PRESETS["compact"], heads=5)


def test_paper_preset_has_the_published_parameters_without_the_unused_ones() -> None:
    with torch.device("meta"):
        network = ASFEFusion(PRESETS["paper"])
    assert sum(p.numel() for p in network.parameters()) == 175_717_545 - 4_734_976


def test_folding_the_norms_into_the_convolutions_changes_no_result():
    network = network_with_used_norms(seed=4)
    images = torch.rand(2, 1, 1, 64, 64, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        before = network(*images)
        fold_norms(network)
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
        assert torch.allclose(network(*images), before, atol=2e-6)


def network_with_used_norms(seed: int) -> ASFEFusion:
    """The compact network, whose norms have statistics and gains as after a training."""
    torch.manual_seed(seed)
    network = ASFEFusion(PRESETS["compact"]).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 2)
            for tensor in (module.bias.data, module.running_mean):
                tensor.uniform_(-0.5, 0.5)
    return network
