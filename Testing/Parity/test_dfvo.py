"""DFVO against tensors that the authors' own modules computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from parity_set import assert_close, part_of, read_case, weights_by_recipe
from torch import Tensor, nn
from torch.nn import functional as F
from typer.testing import CliRunner

from MedFusionLib.commands.import_weights import app
from MedFusionLib.errors import WeightsError
from MedFusionLib.methods.blocks.invertible import InvertibleCoupling
from MedFusionLib.methods.checkpoints import Rules, filled_renamed, load_renamed
from MedFusionLib.methods.dfvo import DFVO, PRESETS, create, from_author_state
from MedFusionLib.methods.dfvo.author_weights import ATTENTION, DETAIL
from MedFusionLib.methods.dfvo.layers import Illumination
from MedFusionLib.methods.dfvo.network import CrossAttention, SobelConvolution
from MedFusionLib.training import dfvo_losses
from MedFusionLib.training.dfvo_objectives import ImageHead

SALT = 0xC0DE
SOBEL_ALONE: Rules = ((r"^", ".query."), *ATTENTION, (r"^\.CrossSQ_conv\.", ""))
ATTENTION_ALONE: Rules = ((r"^", "."), *ATTENTION, (r"^\.", ""))
COUPLING_ALONE: Rules = ((r"^", ".couplings.0."), *DETAIL, (r"^\.net\.0\.", ""))

DECODER: Rules = (
    (r"^blocks\.(\d)\.convolution\.", lambda match: f"Decode{int(match[1]) + 1}.Conv."),
    (r"^blocks\.(\d)\.norm\.", lambda match: f"Decode{int(match[1]) + 1}.Bn."),
    (r"^projection\.", "Sigmoid.Conv."),
)
ILLUMINATION: Rules = (
    (r"^encoder\.(\d)\.convolution\.", lambda match: f"Encode{int(match[1]) + 1}.Conv."),
    (r"^encoder\.(\d)\.norm\.", lambda match: f"Encode{int(match[1]) + 1}.Bn."),
    (r"^decoder\.", ""),
    *DECODER,
)


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "parity" / "dfvo"


@pytest.fixture(scope="module")
def state(folder: Path) -> dict[str, Tensor]:
    """The authors' whole training network, filled by the recipe."""
    shapes = json.loads((folder / "default_keys_shapes.json").read_text())["DFLONet"]
    return weights_by_recipe(
        {key: shape for key, shape in shapes.items() if not key.endswith("tracked")}, SALT
    )


@pytest.fixture(scope="module")
def network(state: dict[str, Tensor]) -> DFVO:
    return from_author_state(state)


def filled_by(module: nn.Module, state: dict[str, Tensor], rules: Rules) -> nn.Module:
    load_renamed(module, state, rules)
    return module.eval()


@torch.no_grad()
def test_the_sobel_convolution_begins_and_answers_as_the_authors(folder: Path) -> None:
    tensors, _ = read_case(folder / "modules.safetensors")
    module = SobelConvolution(3, 2)
    start = part_of(tensors, "SobelConv_init.")
    assert torch.equal(module.horizontal.weight, start["convx.weight"])
    assert torch.equal(module.vertical.weight, start["convy.weight"])
    filled_by(module, part_of(tensors, "SobelConv.param."), SOBEL_ALONE)
    assert_close(module(tensors["SobelConv.in"]), tensors["SobelConv.out"], 1e-5)


@torch.no_grad()
def test_the_cross_attention_gives_what_the_authors_gives(folder: Path) -> None:
    case = part_of(read_case(folder / "modules.safetensors")[0], "CrossSelfAttention.")
    module = filled_by(CrossAttention(16), part_of(case, "param."), ATTENTION_ALONE)
    reference, other = module(case["in_vi"], case["in_ir"])
    assert_close(reference, case["out_vi"], 1e-5)
    assert_close(other, case["out_ir"], 1e-5)


@torch.no_grad()
def test_the_shared_coupling_gives_what_the_authors_gives(folder: Path) -> None:
    case = part_of(read_case(folder / "modules.safetensors")[0], "DetailNode.")
    module = filled_by(InvertibleCoupling(4), part_of(case, "param."), COUPLING_ALONE)
    first, second = module(case["in0"], case["in1"])
    assert_close(first, case["out0"], 1e-5)
    assert_close(second, case["out1"], 1e-5)


@torch.no_grad()
def test_the_network_gives_the_authors_maps_and_fused_slice(folder: Path, network: DFVO) -> None:
    tensors, _ = read_case(folder / "net_prng.safetensors")
    reference, other = tensors["in.vi"], tensors["in.ir"]
    found = maps_of(network, reference, other)
    for name, maps in found.items():
        expected = tensors[f"mid.{name}.first4ch"]
        height, width = expected.shape[-2:]
        assert_close(maps[:, :4, :height, :width], expected)
        assert_close(maps.abs().mean().view(1), tensors[f"mid.{name}.absmean"])
    assert_close(network(reference, other), tensors["out.fu"])


def maps_of(network: DFVO, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
    """What the network's parts give for two slices, under the authors' names."""
    found: dict[str, Tensor] = {}
    parts = {
        **{f"ViEncode{n + 1}": part for n, part in enumerate(network.reference_encoder)},
        **{f"IrEncode{n + 1}": part for n, part in enumerate(network.other_encoder)},
        "ViConv": network.base.reference_reduction,
        "IrConv": network.base.other_reduction,
        "ViUpConv": network.base.reference_expansion,
        "IrUpConv": network.base.other_expansion,
        "ViDetail": network.reference_detail,
        "IrDetail": network.other_detail,
        **{f"FuDecode{n + 1}": part for n, part in enumerate(network.decoder.blocks)},
    }
    hooks = [
        part.register_forward_hook(lambda _, __, maps, name=name: found.update({name: maps}))
        for name, part in parts.items()
    ]
    network(reference, other)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(
    ("source", "names", "output"), [(0, "En", "out.en"), (1, "Ir", "out.ir")], ids=["MR", "other"]
)
@torch.no_grad()
def test_the_training_heads_draw_what_the_authors_draw(
    folder: Path, network: DFVO, state: dict[str, Tensor], source: int, names: str, output: str
) -> None:
    tensors, _ = read_case(folder / "net_prng.safetensors")
    head = ImageHead(PRESETS["paper"])
    filled_renamed(head.decoder, decoder_state(state, names), DECODER)
    features = network.features(tensors["in.vi"], tensors["in.ir"])[source]
    assert_close(head(features.base + features.detail), tensors[output])


@torch.no_grad()
def test_the_illumination_is_what_the_authors_network_finds(
    folder: Path, state: dict[str, Tensor]
) -> None:
    tensors, _ = read_case(folder / "net_prng.safetensors")
    network = filled_renamed(Illumination(PRESETS["paper"]), part_of(state, "IL."), ILLUMINATION)
    assert_close(network(tensors["in.vi"]), tensors["out.il"])


def decoder_state(state: dict[str, Tensor], names: str) -> dict[str, Tensor]:
    """The part of the state that is one decoder, its names without that of the decoder."""
    prefixes = (f"{names}Decode", f"{names}Sigmoid")
    return {
        key.removeprefix(names): value for key, value in state.items() if key.startswith(prefixes)
    }


def test_what_the_inference_does_not_need_is_dropped_and_the_rest_counted(
    network: DFVO, state: dict[str, Tensor], folder: Path
) -> None:
    _, metadata = read_case(folder / "net_prng.safetensors")
    unused = sum(value.numel() for key, value in state.items() if key.startswith("IrDeConv."))
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert counted + unused == metadata["params"]["SimplifiedModel"]
    assert network.architecture == PRESETS["paper"]


@torch.no_grad()
def test_a_checkpoint_of_the_authors_becomes_a_weight_file_that_fuses(
    tmp_path: Path, folder: Path, state: dict[str, Tensor]
) -> None:
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "DFModel.pth")
    output = tmp_path / "dfvo.safetensors"
    arguments = ["dfvo", str(tmp_path / "DFModel.pth"), "-o", str(output)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    tensors, _ = read_case(folder / "net_prng.safetensors")
    method = create(torch.device("cpu"), weights=str(output))
    assert_close(method.fuse(tensors["in.vi"], tensors["in.ir"]), tensors["out.fu"])


def test_a_checkpoint_that_lacks_a_tensor_is_refused_with_its_name(
    state: dict[str, Tensor],
) -> None:
    rest = {key: value for key, value in state.items() if key != "CSA.ViV_conv.weight"}
    with pytest.raises(WeightsError, match=r"lacks CSA\.ViV_conv\.weight"):
        from_author_state(rest)
    with pytest.raises(WeightsError, match=r"lacks ViEncode1\.Conv\.weight"):
        from_author_state({})


def raw(term: Tensor, weight: float) -> Tensor:
    return (term / weight).view(1)


def test_every_term_of_the_loss_has_the_authors_value(folder: Path) -> None:
    tensors, _ = read_case(folder / "losses.safetensors")
    given = part_of(tensors, "in.")
    retinex = dfvo_losses.retinex_terms(given["vi"], given["en"], given["il"])
    fusion = dfvo_losses.fusion_terms(
        given["fu"], given["en"], given["ir_rec"], given["dark_channel"]
    )
    colour = dfvo_losses.colour_distance(given["fu_rgb"], given["en_rgb"])
    for found, name in [
        (F.l1_loss(given["ir_rec"], given["ir"]).view(1), "l1"),
        (raw(retinex["retinex"], dfvo_losses.RETINEX), "retinex"),
        (raw(retinex["flatness"], dfvo_losses.FLATNESS), "mg"),
        (raw(retinex["smoothness"], dfvo_losses.SMOOTHNESS), "smooth"),
        (raw(fusion["edges"], dfvo_losses.EDGES), "sobel"),
        (raw(fusion["intensity"], dfvo_losses.INTENSITY), "content"),
        (colour.view(1), "cosine"),
    ]:
        assert_close(found, tensors[f"loss.{name}"], 1e-5)
    horizontal, vertical = dfvo_losses.steps(given["il"])
    assert_close(horizontal, tensors["gradient_x_il"], 1e-6)
    assert_close(vertical, tensors["gradient_y_il"], 1e-6)


@pytest.mark.parametrize("epoch", [0, 7])
def test_the_whole_loss_and_its_gradients_are_the_authors(folder: Path, epoch: int) -> None:
    tensors, _ = read_case(folder / "losses.safetensors")
    given = part_of(tensors, "in.")
    drawn = {name: given[name].requires_grad_() for name in ("en", "il", "ir_rec", "fu", "fu_rgb")}
    terms = {"rebuilding": dfvo_losses.REBUILDING * F.l1_loss(drawn["ir_rec"], given["ir"])}
    terms |= dfvo_losses.retinex_terms(given["vi"], drawn["en"], drawn["il"])
    fusion = dfvo_losses.fusion_terms(
        drawn["fu"], drawn["en"], drawn["ir_rec"], given["dark_channel"]
    )
    colour = dfvo_losses.COLOUR * dfvo_losses.colour_distance(drawn["fu_rgb"], given["en_rgb"])
    share = dfvo_losses.FUSION_PER_EPOCH * epoch
    total = torch.stack([*terms.values(), *(share * term for term in (*fusion.values(), colour))])
    total = total.sum()
    expected = tensors[f"loss.total_without_histogram_term.epoch{epoch}"]
    assert_close(total.view(1), expected, 1e-5)
    if epoch == 7:
        gradients = torch.autograd.grad(total, list(drawn.values()))
        for name, found in zip(drawn, gradients, strict=True):
            wanted = tensors[f"grad_total_epoch7.{name}"]
            assert (found - wanted).norm() <= 1e-3 * wanted.norm()


def test_priors_of_an_image_are_the_authors(folder: Path) -> None:
    prior = part_of(read_case(folder / "modules.safetensors")[0], "prior.")
    colours = prior["in_rgb_u8"].permute(2, 0, 1).unsqueeze(0).float()
    dark = dfvo_losses.dark_channel(colours)[0, 0]
    assert torch.equal(dark, prior["dark_channel_sz10_u8"].float())
    grey = prior["y_u8"].view(1, 1, *prior["y_u8"].shape).float() / 255
    even = (dfvo_losses.equalised(grey)[0, 0] * 255).round()
    assert torch.equal(even, prior["hist_equalised_u8"].float())
