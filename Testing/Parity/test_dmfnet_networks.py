"""DM-FNet's networks against tensors from the authors' implementation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from parity_set import weights_by_recipe
from safetensors import safe_open
from torch import Tensor

from MedFusionLib.methods.checkpoints import author_key
from MedFusionLib.methods.dmfnet import head_from_author_state, unet_from_author_state
from MedFusionLib.methods.dmfnet.author_weights import HEAD_RULES, UNET_RULES
from MedFusionLib.methods.dmfnet.diffusion import add_noise
from MedFusionLib.methods.dmfnet.losses import (
    gradient_loss,
    hybrid_loss,
    intensity_loss,
    structure_loss,
)

PAPER_STEPS = (5, 10, 20)
PAPER_SCALES = (2, 5, 8, 11, 14)


def read_case(shared: Path, name: str) -> tuple[dict[str, Tensor], dict]:
    with safe_open(shared / "parity" / "dmfnet" / f"{name}.safetensors", "pt") as case:
        metadata = {key: json.loads(value) for key, value in (case.metadata() or {}).items()}
        return {key: case.get_tensor(key) for key in case.keys()}, metadata  # noqa: SIM118


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }


def assert_close(found: Tensor, wanted: Tensor, tolerance: float = 1e-4) -> None:
    excess = (found - wanted).abs() - tolerance * wanted.abs().clamp_min(1)
    assert found.shape == wanted.shape
    assert excess.max() <= 0


def record_outputs(network: torch.nn.Module) -> dict[str, list[Tensor]]:
    """Keep what every submodule returns from now on, under its name."""
    outputs: dict[str, list[Tensor]] = {}
    for name, module in network.named_modules():
        module.register_forward_hook(
            lambda module, inputs, output, name=name: outputs.setdefault(name, []).append(output)
        )
    return outputs


@pytest.mark.parametrize("case", ["unet_inner16", "unet_inner32_gn32", "unet_attn_level"])
@torch.no_grad()
def test_every_stage_of_the_unet_equals_the_authors(shared: Path, case: str) -> None:
    tensors, metadata = read_case(shared, case)
    unet = unet_from_author_state(part(tensors, "param."), **metadata["config"])
    outputs = record_outputs(unet)

    prediction, features = unet.forward_with_features(tensors["in.x"], tensors["in.noise_level"])

    assert sum(parameter.numel() for parameter in unet.parameters()) == metadata["n_params"]
    assert_close(prediction, tensors["out.x0"])
    for index, feature in enumerate(features):
        assert_close(feature, tensors[f"out.fd.{index}"])
    assert f"out.fd.{len(features)}" not in tensors
    assert_close(
        unet.noise_embedding.sinusoids(tensors["in.noise_level"]), tensors["mid.noise_posenc"]
    )
    assert_close(outputs["noise_embedding"][0], tensors["mid.noise_embed"])
    assert_close(outputs["stem"][0], tensors["mid.init_conv"])
    for theirs, ours in {"downs": "encoder", "mid": "middle", "ups": "decoder"}.items():
        for position, wanted in part(tensors, f"mid.{theirs}.").items():
            assert_close(outputs[f"{ours}.{position}"][0], wanted)


@torch.no_grad()
def test_the_shortened_pass_gives_the_same_features_bit_for_bit(shared: Path) -> None:
    tensors, metadata = read_case(shared, "unet_inner16")
    unet = unet_from_author_state(part(tensors, "param."), **metadata["config"])
    inputs = tensors["in.x"], tensors["in.noise_level"]
    _, everything = unet.forward_with_features(*inputs)

    wanted = unet.features(*inputs, PAPER_SCALES)

    assert set(wanted) == set(PAPER_SCALES)
    assert all(torch.equal(wanted[index], everything[index]) for index in wanted)


def pipeline_networks(tensors: dict[str, Tensor], metadata: dict):
    config = metadata["unet_config"]
    unet = unet_from_author_state(part(tensors, "unet."), **config)
    head = head_from_author_state(
        part(tensors, "head."),
        inner_channel=config["inner_channel"],
        channel_mults=config["channel_mults"],
        time_steps=metadata["ts"],
        feat_scales=metadata["scales"],
    )
    return unet, head


def noisy_features(unet, tensors: dict[str, Tensor], modality: str, scales) -> list[dict]:
    clean = tensors["in.mri" if modality == "MRI" else "in.other"]
    steps = []
    for step in PAPER_STEPS:
        level = tensors[f"in.level.{modality}.t{step}"].float()[:, None]
        noisy = add_noise(clean, tensors[f"in.noise.{modality}.t{step}"], level)
        steps.append(unet.features(noisy, level, scales))
    return steps


@torch.no_grad()
def test_the_whole_pipeline_equals_the_authors(shared: Path) -> None:
    tensors, metadata = read_case(shared, "pipeline_inner16")
    unet, head = pipeline_networks(tensors, metadata)
    outputs = record_outputs(head)

    features = {
        modality: noisy_features(unet, tensors, modality, metadata["scales"])
        for modality in ("MRI", "Other")
    }
    fused = head(features["MRI"], features["Other"])

    for modality, steps in features.items():
        for step, maps in zip(PAPER_STEPS, steps, strict=True):
            for scale, feature in maps.items():
                assert_close(feature, tensors[f"feat.{modality}.t{step}.{scale}"])
    for level in range(5):
        for call in range(2):
            wanted = tensors[f"mid.decoder.{2 * level}.call{call}"]
            assert_close(outputs[f"levels.{level}.mixing"][call], wanted)
        stage = f"mid.decoder.{2 * level + 1}"
        attention = f"levels.{level}.attention"
        assert_close(outputs[f"{attention}.spatial"][0], tensors[f"{stage}.att.sa"])
        assert_close(outputs[f"{attention}.channel"][0], tensors[f"{stage}.att.ca"])
        assert_close(outputs[f"{attention}.pixel"][0], tensors[f"{stage}.att.pa"])
    assert_close(fused, tensors["out.fused"])


def test_the_attention_weight_is_the_authors_unbounded_one(shared: Path) -> None:
    tensors, metadata = read_case(shared, "pipeline_inner16")
    _, head = pipeline_networks(tensors, metadata)
    for level, module in enumerate(head.levels):
        total = (
            tensors[f"mid.decoder.{2 * level}.call0"] + tensors[f"mid.decoder.{2 * level}.call1"]
        )
        wanted = tensors[f"mid.decoder.{2 * level + 1}.att"]
        assert_close(module.attention.weight(total).detach(), wanted)


def test_the_gradients_and_one_training_step_equal_the_authors(shared: Path) -> None:
    tensors, metadata = read_case(shared, "pipeline_inner16")
    training, training_metadata = read_case(shared, "pipeline_inner16_grads_adam")
    unet, head = pipeline_networks(tensors, metadata)
    with torch.no_grad():
        features = [
            noisy_features(unet, tensors, modality, metadata["scales"])
            for modality in ("MRI", "Other")
        ]
    optimiser = torch.optim.Adam(head.parameters(), lr=training_metadata["lr"])

    loss = hybrid_loss(head(*features), tensors["in.mri"], tensors["in.other"])
    loss.backward()
    gradients = {
        author_key(name, HEAD_RULES): parameter.grad for name, parameter in head.named_parameters()
    }
    optimiser.step()

    assert_close(loss.detach(), tensors["loss.total"], 1e-5)
    wanted_gradients = part(training, "grad.")
    assert gradients.keys() == wanted_gradients.keys()
    for key, wanted in wanted_gradients.items():
        assert_close(gradients[key], wanted)
        assert (gradients[key] - wanted).norm() <= 1e-3 * wanted.norm() + 1e-7
    for name, parameter in head.named_parameters():
        wanted = training[f"after_adam.head.{author_key(name, HEAD_RULES)}"]
        # Adam's first step is lr · sign(gradient): where the gradient is rounding noise, so is it.
        assert (parameter - wanted).abs().max() <= 2.1 * training_metadata["lr"]
        assert (parameter - wanted).abs().mean() <= 1e-6
    with torch.no_grad():
        fused = head(*features)
    assert_close(fused, training["after_adam.fused"])
    parts = fused, tensors["in.mri"], tensors["in.other"]
    assert_close(1.5 * intensity_loss(*parts), training["after_adam.loss_in"])
    assert_close(
        gradient_loss(*parts) + structure_loss(*parts), training["after_adam.loss_grad_plus_ssim"]
    )


@torch.no_grad()
def test_the_full_size_networks_equal_the_authors(shared: Path) -> None:
    tensors, metadata = read_case(shared, "fullconfig_prng")
    shapes = json.loads((shared / "parity/dmfnet/paper_config_keys_shapes.json").read_text())
    unet = unet_from_author_state(
        weights_by_recipe(shapes["unet"], metadata["salt"]), **metadata["config"]
    )
    head = head_from_author_state(
        weights_by_recipe(shapes["head"], metadata["salt"]),
        inner_channel=metadata["config"]["inner_channel"],
        channel_mults=metadata["config"]["channel_mults"],
        time_steps=metadata["ts"],
        feat_scales=PAPER_SCALES,
    )
    for network, name in ((unet, "unet"), (head, "head")):
        count = sum(parameter.numel() for parameter in network.parameters())
        assert count == metadata[f"{name}_params"]

    steps: dict[str, list[list[Tensor]]] = {"MRI": [], "Other": []}
    for modality, clean in (("MRI", tensors["in.mri"]), ("Other", tensors["in.other"])):
        for step in metadata["ts"]:
            level = tensors[f"in.level.{modality}.t{step}"].float()[:, None]
            noisy = add_noise(clean, tensors[f"in.noise.{modality}.t{step}"], level)
            prediction, features = unet.forward_with_features(noisy, level)
            assert_close(prediction, tensors[f"out.x_final.{modality}.t{step}"])
            steps[modality].append(features)
        for index, feature in enumerate(steps[modality][0]):
            key = f"feat.{modality}.t5.fd.{index}"
            assert_close(feature[:, :4], tensors[f"{key}.first4ch"])
            assert_close(feature.abs().mean(), tensors[f"{key}.absmean"])
    assert_close(head(steps["MRI"], steps["Other"]), tensors["out.fused"])


def test_the_paper_configuration_has_the_authors_keys_and_shapes(shared: Path) -> None:
    from MedFusionLib.methods.dmfnet.config import PRESETS

    shapes = json.loads((shared / "parity/dmfnet/paper_config_keys_shapes.json").read_text())
    with torch.device("meta"):
        unet, head = PRESETS["paper"].build_unet(), PRESETS["paper"].build_head()
    for network, rules, name in ((unet, UNET_RULES, "unet"), (head, HEAD_RULES, "head")):
        found = {
            author_key(key, rules): list(tensor.shape)
            for key, tensor in network.state_dict().items()
        }
        assert found == shapes[name]
