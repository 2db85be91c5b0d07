"""DC2Fusion's parts against closed forms and other libraries, and the method as a whole."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import nn

from MedFusionLib.methods import create_method, method_card
from MedFusionLib.methods.dc2 import PRESETS, Architecture, DC2Fusion
from MedFusionLib.methods.dc2.architecture import from_config
from MedFusionLib.methods.dc2.block import CrossBlock, Offsets, WindowAttention, sampled
from MedFusionLib.methods.dc2.network import Stage
from MedFusionLib.methods.dc2.outputs import NormWeights, VolumeBands, smoothed, split_volumes
from MedFusionLib.methods.dc2.weight_file import load_network, save_network

SMALL = Architecture(
    embedding=8, depths=(1, 1), heads=(1, 2), gate_reduction=4, output="weighted bands"
)


def volume(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_its_card_tells_its_size() -> None:
    counted = sum(parameter.numel() for parameter in DC2Fusion(PRESETS["compact"]).parameters())
    assert method_card("dc2").parameters == counted


@pytest.mark.parametrize(("embedding", "published"), [(48, 26_396_714), (96, 98_733_626)])
def test_the_paper_preset_is_within_some_percent_of_the_published_size(
    embedding: int, published: int
) -> None:
    """The description leaves widths open; theirs were counted before the batch norms had any."""
    with torch.device("meta"):
        network = DC2Fusion(dataclasses.replace(PRESETS["paper"], embedding=embedding))
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    counted, of_norms = (
        sum(parameter.numel() for module in modules for parameter in module.parameters())
        for modules in ([network], norms)
    )
    assert counted - of_norms == pytest.approx(published, rel=0.012)


def test_an_architecture_survives_its_way_through_json() -> None:
    for preset in PRESETS.values():
        assert from_config(json.loads(json.dumps(preset.as_config()))) == preset


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"heads": (3, 4, 8)}, "multiple of its 3 heads"),
        ({"heads": (2, 4)}, "3 depths, but 2 heads"),
        ({"output": "free"}, "output must be one of"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused(change: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        dataclasses.replace(PRESETS["compact"], **change)


def test_tokens_are_sampled_as_scipy_interpolates_them() -> None:
    tokens = volume(1, 5, 6, 7, 3).double()
    moved = (volume(1, 5, 6, 7, 3, seed=1).double() - 0.5) * 3
    size = torch.tensor([7, 6, 5])
    # Voxels along x, y, z as shares of the way from the first to the last, which is 2.
    found = sampled(tokens, moved * 2 / (size - 1))
    places = np.indices((5, 6, 7)) + moved[0].numpy()[..., ::-1].transpose(3, 0, 1, 2)
    for channel in range(3):
        expected = scipy.ndimage.map_coordinates(
            tokens[0, ..., channel].numpy(), places, order=1, mode="nearest"
        )
        assert np.allclose(found[0, ..., channel].numpy(), expected, atol=1e-6)


def test_offsets_reach_about_a_token_along_each_axis_and_no_further() -> None:
    offsets = Offsets(8)
    nn.init.normal_(offsets.layers[-1].weight, std=50)
    found = offsets(volume(1, 4, 5, 8, 8), volume(1, 4, 5, 8, 8, seed=1)).abs().amax((0, 1, 2, 3))
    assert torch.allclose(found, 2 / torch.tensor([8.0, 5.0, 4.0]), rtol=1e-3)


def test_attention_is_the_product_of_queries_keys_and_gated_values_window_by_window() -> None:
    """Token by token; the last windows of an odd side hold fewer."""
    attention = WindowAttention(8, 2, 2)
    tokens, other, gate = (
        volume(1, 4, 3, 5, 8),
        volume(1, 4, 3, 5, 8, seed=1),
        volume(1, 1, 1, 1, 8),
    )
    found = attention(tokens, other, gate)
    query, value = attention.query(tokens)[0], (attention.value(tokens) * gate)[0]
    key = attention.key(other)[0]
    expected = torch.zeros(4, 3, 5, 8)
    for place in np.ndindex(4, 3, 5):
        corner = [index // 2 * 2 for index in place]
        for beside in np.ndindex(2, 2, 2):
            seen = tuple(a + b for a, b in zip(corner, beside, strict=True))
            if any(index >= length for index, length in zip(seen, (4, 3, 5), strict=True)):
                continue
            for head in (slice(0, 4), slice(4, 8)):
                product = (query[place][head] * key[seen][head]).sum() / 2
                expected[place][head] += product * value[seen][head]
    assert torch.allclose(found[0], attention.projection(expected), atol=1e-5)


def test_the_second_stream_sees_what_the_first_has_become() -> None:
    block = CrossBlock(8, 2, SMALL, 0.0).eval()
    first, second = volume(1, 2, 4, 4, 8), volume(1, 2, 4, 4, 8, seed=1)
    one, two = Stage([block])((first, second))
    assert torch.equal(one, block(first, second))
    assert torch.equal(two, block(second, one))


def test_a_dropped_path_leaves_the_tokens_and_a_kept_one_makes_up_for_it() -> None:
    block = CrossBlock(8, 2, SMALL, 0.5).train()
    torch.manual_seed(0)
    dropped = torch.stack([block._dropped(torch.ones(1, 1, 1, 1, 8)) for _ in range(400)])
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert dropped.mean() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("sigma", [1.0, 4.0, 16.0])
def test_smoothing_is_scipys_gaussian(sigma: float) -> None:
    image = volume(9, 20, 30).double()
    expected = scipy.ndimage.gaussian_filter(image.numpy(), sigma, mode="nearest", truncate=3.0)
    assert np.allclose(smoothed(image[None, None], sigma)[0, 0].numpy(), expected, atol=1e-7)


def test_the_bands_of_a_volume_sum_to_the_volume() -> None:
    image = volume(1, 2, 16, 20, 24).double()
    bands, smoothest = split_volumes(image)
    assert torch.allclose(sum(bands) + smoothest, image)


def test_an_untrained_output_shows_all_detail_over_what_is_smooth_in_both() -> None:
    output = VolumeBands(8, 4)
    reference, other = volume(1, 1, 16, 16, 16), volume(1, 1, 16, 16, 16, seed=1)
    found = output.uncut(volume(1, 16, 4, 4, 4), reference, other)
    smooth = [smooth_of(image) for image in (reference, other)]
    share = torch.sigmoid(torch.tensor([2.0, -1.0, -2.0]))
    base = share[0] * torch.maximum(*smooth) + share[1] * torch.minimum(*smooth) - share[2]
    expected = base + reference - smooth[0] + other - smooth[1]
    assert torch.allclose(found, expected, atol=1e-5)


def smooth_of(image: torch.Tensor) -> torch.Tensor:
    smooth = scipy.ndimage.gaussian_filter(image[0, 0].numpy(), 16, mode="nearest", truncate=3.0)
    return torch.from_numpy(smooth)[None, None]


def test_two_maps_weigh_each_other_by_their_share_of_the_norm() -> None:
    output = NormWeights(8, 4)
    nn.init.zeros_(output.maps.weight)
    with torch.no_grad():
        output.maps.bias.copy_(torch.tensor([3.0, -1.0]))
    uncut = output.uncut(volume(1, 16, 1, 1, 1), *2 * [volume(1, 1, 4, 4, 4)])
    assert torch.allclose(uncut, torch.full((1, 1, 4, 4, 4), (3 * 3 - 1) / 4))


def test_the_fused_volume_is_black_where_both_are_and_no_brighter_than_their_sum_allows() -> None:
    network = DC2Fusion(SMALL).eval()
    nn.init.normal_(network.output.fine.weight)
    reference, other = volume(1, 1, 16, 16, 16), volume(1, 1, 16, 16, 16, seed=1)
    reference[..., :4], other[..., :4] = 0, 0
    fused = network(reference, other)
    assert fused[..., :4].abs().max() == 0
    assert (fused <= (1.5 * (reference + other)).clamp(max=1)).all() and (fused >= 0).all()


def test_a_volume_of_another_size_is_refused_with_the_stride() -> None:
    image = torch.rand(1, 1, 16, 24, 16)
    with pytest.raises(ValueError, match=r"multiples of 16 voxels, not 16×24×16"):
        DC2Fusion(PRESETS["compact"])(image, image)


def test_a_weight_file_gives_the_same_network_again(tmp_path: Path) -> None:
    network = DC2Fusion(SMALL).eval()
    save_network(network, tmp_path / "weights.safetensors")
    again, _ = load_network(tmp_path / "weights.safetensors")
    pair = volume(1, 1, 8, 8, 8), volume(1, 1, 8, 8, 8, seed=1)
    assert torch.equal(again(*pair), network(*pair))


def test_a_detail_moves_with_the_volume_and_not_to_the_other_side() -> None:
    """A bright bar in one corner of either source stays there alone."""
    method = create_method("dc2")
    for place in range(2):
        sources = [torch.full((1, 1, 32, 32, 48), 0.3) for _ in range(2)]
        plain = method.fuse_volume(*sources)
        sources[place][..., 4:9, 5:10, 6:12] = 0.8
        change = method.fuse_volume(*sources) - plain
        assert change[..., 4:9, 5:10, 6:12].mean() > 0.2
        assert change[..., 28:].abs().max() < 0.05
