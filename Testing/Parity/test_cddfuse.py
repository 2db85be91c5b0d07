"""CDDFuse against tensors that the authors' own modules computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cddfuse_networks import made_up_network
from parity_set import assert_close, part_of, read_case
from torch import Tensor, nn

from MedFusionLib.methods.blocks.invertible import InvertedResidual, InvertibleCoupling
from MedFusionLib.methods.cddfuse import PRESETS, CDDFuse
from MedFusionLib.methods.checkpoints import Rules, load_renamed

RESIDUAL: Rules = ((r"^4\.", "5."), (r"^2\.", "3."), (r"^", "bottleneckBlock."))
COUPLING: Rules = (
    (r"^mixing\.", "shffleconv."),
    (r"^second_shift\.", "theta_phi.bottleneckBlock."),
    (r"^first_scale\.", "theta_rho.bottleneckBlock."),
    (r"^first_shift\.", "theta_eta.bottleneckBlock."),
    (r"bottleneckBlock\.4\.", "bottleneckBlock.5."),
    (r"bottleneckBlock\.2\.", "bottleneckBlock.3."),
)


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "parity" / "cddfuse"


@pytest.mark.parametrize(
    ("case", "module", "rules"),
    [
        ("InvertedResidualBlock", InvertedResidual(6, 5), RESIDUAL),
        ("DetailNode", InvertibleCoupling(32), COUPLING),
    ],
)
@torch.no_grad()
def test_each_part_of_the_detail_extractor_gives_what_the_authors_gives(
    folder: Path, case: str, module: nn.Module, rules: Rules
) -> None:
    tensors, _ = read_case(folder / "modules.safetensors")
    load_renamed(module, part_of(tensors, f"{case}.param."), rules)
    inputs = [value for key, value in sorted(tensors.items()) if key.startswith(f"{case}.in")]
    expected = [value for key, value in sorted(tensors.items()) if key.startswith(f"{case}.out")]
    found = module(*inputs)
    for part, wanted in zip(found if len(expected) > 1 else [found], expected, strict=True):
        assert_close(part, wanted, 1e-5)


@torch.no_grad()
def test_a_coupling_can_be_undone() -> None:
    torch.manual_seed(0)
    coupling = InvertibleCoupling(4).double()
    first, second = torch.randn(2, 1, 4, 6, 5, dtype=torch.float64)
    out_first, out_second = coupling(first, second)
    scale = coupling.first_scale(out_second).exp()
    mixed_first = (out_first - coupling.first_shift(out_second)) / scale
    mixed = torch.cat([mixed_first, out_second - coupling.second_shift(mixed_first)], dim=1)
    matrix = coupling.mixing.weight[:, :, 0, 0]
    wanted = mixed - coupling.mixing.bias.view(1, -1, 1, 1)
    back = torch.einsum("ij,njhw->nihw", torch.linalg.inv(matrix), wanted)
    assert torch.allclose(back, torch.cat([first, second], dim=1))


def test_a_limited_exponent_keeps_the_scale_finite() -> None:
    coupling = InvertibleCoupling(2, exponent_limit=4.0)
    for parameter in coupling.first_scale.parameters():
        nn.init.constant_(parameter, 50.0)
    first = torch.ones(1, 2, 4, 4)
    assert torch.isfinite(coupling(first, first)[0]).all()


@pytest.mark.parametrize("case", ["net_small_prng", "net_default_prng"])
@torch.no_grad()
def test_the_network_gives_the_authors_images_and_intermediates(folder: Path, case: str) -> None:
    tensors, metadata = read_case(folder / f"{case}.safetensors")
    network = made_up_network(folder, metadata, "reference")
    counts = {
        "encoder": network.encoder,
        "decoder": network.decoder,
        "base_fuse": network.fusion.base,
        "detail_fuse": network.fusion.detail,
    }
    assert metadata["params"] == {
        name: sum(parameter.numel() for parameter in part.parameters())
        for name, part in counts.items()
    }
    reference, other = tensors["in.vis"], tensors["in.ir"]
    seen = watched(network)
    rebuilt_reference, of_reference = network.rebuilt(reference)
    rebuilt_other, of_other = network.rebuilt(other)
    assert_close(rebuilt_reference, tensors["out.recon_vis"])
    assert_close(rebuilt_other, tensors["out.recon_ir"])
    assert_intermediates(seen, tensors)
    fused = network.fusion(of_reference, of_other)
    assert_part(fused.base, tensors, "mid.fuse.base")
    assert_part(fused.detail, tensors, "mid.fuse.detail")
    assert_close(network(reference, other), tensors["out.fused_plus_vis"])


@pytest.mark.parametrize(
    ("skip", "name"), [("none", "none"), ("sum", "plus_sum"), ("reference", "plus_vis")]
)
@pytest.mark.parametrize("case", ["net_small_prng", "net_default_prng"])
@torch.no_grad()
def test_each_skip_gives_the_authors_fused_image(
    folder: Path, case: str, skip: str, name: str
) -> None:
    tensors, metadata = read_case(folder / f"{case}.safetensors")
    network = made_up_network(folder, metadata, skip)
    fused = network(tensors["in.vis"], tensors["in.ir"])
    assert_close(fused, tensors[f"out.fused_{name}"])
    if skip == "none":
        stretched = (fused - fused.min()) / (fused.max() - fused.min()) * 255
        assert_close(stretched, tensors["out.fused_none_post_minmax255"], 2e-4)


def watched(network: CDDFuse) -> dict[str, list[Any]]:
    """What the parts of the network give, call by call, under the authors' names."""
    encoder, decoder = network.encoder, network.decoder
    parts = {
        "enc.patch_embed": encoder.stem,
        "enc.baseFeature": encoder.base,
        "enc.baseFeature.attn": encoder.base.attention,
        "enc.detailFeature": encoder.detail,
        **{f"enc.level1.{i}": block for i, block in enumerate(encoder.blocks)},
        **{f"enc.detail.node{i}": node for i, node in enumerate(encoder.detail.couplings)},
        "dec.reduce_channel": decoder.reduction,
        "dec.output": decoder.projection,
        **{f"dec.level2.{i}": block for i, block in enumerate(decoder.blocks)},
    }
    seen: dict[str, list[Any]] = {name: [] for name in parts}
    for name, part in parts.items():
        part.register_forward_hook(lambda module, inputs, out, name=name: seen[name].append(out))
    return seen


def assert_intermediates(seen: dict[str, list[Any]], tensors: dict[str, Tensor]) -> None:
    compared = 0
    for name, calls in seen.items():
        for call, result in enumerate(calls):
            outs = result if isinstance(result, tuple) else (result,)
            for index, out in enumerate(outs):
                part = f".out{index}" if len(outs) > 1 else ""
                assert_part(out, tensors, f"mid.{name}.call{call}{part}")
                compared += 1
    assert compared == sum(
        key.endswith(".absmean") and not key.startswith("mid.fuse") for key in tensors
    )


def assert_part(found: Tensor, tensors: dict[str, Tensor], name: str) -> None:
    assert_close(found[:, :4], tensors[f"{name}.first4ch"])
    assert_close(found.abs().mean().view(1), tensors[f"{name}.absmean"])


def test_the_paper_preset_is_what_the_default_weights_fit(folder: Path) -> None:
    _, metadata = read_case(folder / "net_default_prng.safetensors")
    assert made_up_network(folder, metadata, "reference").architecture == PRESETS["paper"]
