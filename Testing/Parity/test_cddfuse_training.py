"""The losses and training steps of CDDFuse against those that the authors' code computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from cddfuse_networks import made_up_network
from parity_set import assert_close, part_of, read_case
from torch import Tensor, nn

from MedFusionLib.methods.cddfuse import CDDFuse
from MedFusionLib.methods.cddfuse.author_weights import PARTS, RULES
from MedFusionLib.methods.cddfuse.network import Features
from MedFusionLib.methods.checkpoints import author_key
from MedFusionLib.training import losses
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.cddfuse_losses import (
    LOSSES,
    SHARPNESS,
    decomposition,
    edge_strength,
    feature_correlation,
    fusion_terms,
    normalised_sobel,
    rebuilding_terms,
)
from MedFusionLib.training.cddfuse_module import CDDFuseTraining
from MedFusionLib.training.settings import CDDFuseSettings

FILE_PARTS = dict(zip(("enc", "dec", "base", "detail"), PARTS.values(), strict=True))
RATE = 1e-4


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "parity" / "cddfuse"


def total_of(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


@pytest.mark.parametrize("case", ["smooth", "noisy"])
def test_losses_of_images_have_the_authors_values_and_gradients(folder: Path, case: str) -> None:
    tensors = part_of(read_case(folder / "losses.safetensors")[0], f"{case}.")
    reference, other = tensors["vis"], tensors["ir"]
    fused = tensors["gen"].requires_grad_()
    assert_close(normalised_sobel(fused).unsqueeze(1), tensors["spatial_gradient_gen"], 1e-5)
    terms = rebuilding_terms(reference, other, fused, other)
    assert_close(losses.dissimilarity(reference, fused).mean().view(1), tensors["ssim_loss"], 1e-5)
    assert_close(nn.functional.mse_loss(reference, fused).view(1), tensors["mse"], 1e-5)
    assert_close(terms["sharpness"].view(1) / SHARPNESS, tensors["gradient_loss"], 1e-5)
    (found,) = torch.autograd.grad(total_of(terms), fused)
    assert_near_in_norm(found, tensors["d_(5ssim+mse+5grad)_d_gen"])
    terms = fusion_terms(fused, reference, other)
    assert_close(terms["intensity"].view(1), tensors["fusion_in"], 1e-5)
    assert_close(terms["edges"].view(1) / 10, tensors["fusion_grad"], 1e-5)
    assert_close(total_of(terms).view(1), tensors["fusion_total"], 1e-5)
    (found,) = torch.autograd.grad(total_of(terms), fused)
    assert_near_in_norm(found, tensors["d_fusion_total_d_gen"])


def assert_near_in_norm(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    """Single elements of a gradient are differences of large sums; the whole must agree."""
    assert (found - expected).norm() <= tolerance * expected.norm()


def test_edge_strength_is_the_authors(folder: Path) -> None:
    tensors, _ = read_case(folder / "modules.safetensors")
    assert_close(edge_strength(tensors["Sobel.in"]), tensors["Sobel.out"], 1e-5)


def test_decomposition_has_the_authors_value_and_gradients(folder: Path) -> None:
    tensors = part_of(read_case(folder / "losses.safetensors")[0], "decomp.")
    names = ("vb", "vd", "ib", "id")
    maps = [tensors[name].requires_grad_() for name in names]
    loss = decomposition(Features(*maps[:2]), Features(*maps[2:]))
    assert_close(feature_correlation(maps[0], maps[2]).view(1), tensors["cc_base"], 1e-5)
    assert_close(feature_correlation(maps[1], maps[3]).view(1), tensors["cc_detail"], 1e-5)
    assert_close(loss.view(1), tensors["loss"], 1e-5)
    for name, gradient in zip(names, torch.autograd.grad(loss, maps), strict=True):
        assert_near_in_norm(gradient, tensors[f"grad.{name}"])


def training(folder: Path, case: str) -> tuple[CDDFuseTraining, dict[str, Tensor]]:
    tensors, metadata = read_case(folder / f"{case}.safetensors")
    network = made_up_network(folder, metadata, "reference").train()
    loss = LOSSES["paper"](1.0)
    settings = CDDFuseSettings(data="", learning_rate=RATE, rate="constant", first_phase=0)
    return CDDFuseTraining(network, loss, Augmentation(), settings), tensors


def take_step(module: CDDFuseTraining, loss: Tensor, tensors: dict[str, Tensor]) -> None:
    """The authors' step on this loss, whose gradients must be theirs before and after the cut.

    Ours in double precision: one map lies within rounding of a ReLU's kink, and the side that it
    falls on in single precision moves some gradients by two thousandths.
    """
    optimizer = module.configure_optimizers()["optimizer"]
    loss.backward()
    assert_norms(module.network, tensors)
    module.configure_gradient_clipping(optimizer, 1.0, "norm")
    assert_first_elements(module.network, tensors)
    optimizer.step()


def gradients(network: CDDFuse, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The gradients under the authors' names, as many as they have."""
    short = {name: part for part, name in FILE_PARTS.items()}
    ours = {}
    for key, parameter in network.named_parameters():
        part, rest = author_key(key, RULES).split(".", 1)
        if parameter.grad is not None:
            ours[f"{short[part]}.{rest}"] = parameter.grad
    theirs = {key.rsplit(".", 1)[0] for key in part_of(tensors, "grad.")}
    assert ours.keys() == theirs
    return ours


def assert_norms(network: CDDFuse, tensors: dict[str, Tensor]) -> None:
    """The norm of each gradient, and of those of each part together."""
    ours = gradients(network, tensors)
    for key, gradient in ours.items():
        expected = tensors[f"grad.{key}.l2"]
        assert (gradient.norm() - expected).abs() <= 1e-3 * expected, key
    for part, expected in part_of(tensors, "gradnorm_before_clip.").items():
        norms = [gradient.norm() for key, gradient in ours.items() if key.startswith(f"{part}.")]
        assert (torch.stack(norms).norm() - expected).abs() <= 1e-3 * expected, part


def assert_first_elements(network: CDDFuse, tensors: dict[str, Tensor]) -> None:
    """The set holds the first elements as they are after each part's gradient was cut."""
    for key, gradient in gradients(network, tensors).items():
        first = tensors[f"grad.{key}.first8"]
        difference = gradient.flatten()[: len(first)] - first
        assert (difference.abs() <= 1e-3 * gradient.norm()).all(), key


def assert_terms(
    terms: dict[str, Tensor], expected: dict[str, Tensor], names: dict[str, tuple[str, float]]
) -> None:
    for ours, (theirs, weight) in names.items():
        assert_close(terms[ours].view(1) / weight, expected[theirs])
    assert_close(total_of(terms).view(1), expected["total"])


@pytest.mark.parametrize(
    ("case", "kind", "names"),
    [
        (
            "phase1_trainstep_blocks11",
            "rebuilding",
            {
                "rebuilt reference": ("mse_ssim_vis", 1),
                "rebuilt other": ("mse_ssim_ir", 1),
                "sharpness": ("gradient", 5),
                "decomposition": ("decomp", 2),
            },
        ),
        (
            "phase2_trainstep_blocks11",
            "fusing",
            {"intensity": ("in", 1), "edges": ("grad", 10), "decomposition": ("decomp", 2)},
        ),
    ],
)
def test_a_step_of_each_phase_has_the_authors_losses_gradients_and_result(
    folder: Path, case: str, kind: str, names: dict[str, tuple[str, float]]
) -> None:
    module, tensors = training(folder, case)
    module.double()
    images = tensors["in.vis"].double(), tensors["in.ir"].double()
    phase: Callable[..., dict[str, Tensor]] = getattr(module, kind)
    assert_images(module.network, tensors, "out.")
    terms = phase(*images)
    assert_terms(terms, part_of(tensors, "loss."), names)
    take_step(module, total_of(terms), tensors)
    assert_terms(phase(*images), part_of(tensors, "after_adam.loss."), names)
    assert_images(module.network, tensors, "after_adam.out.", 1e-3)


@torch.no_grad()
def assert_images(
    network: CDDFuse, tensors: dict[str, Tensor], prefix: str, tolerance: float = 1e-4
) -> None:
    reference, other = tensors["in.vis"].double(), tensors["in.ir"].double()
    if f"{prefix}fused" in tensors:
        assert_close(network(reference, other), tensors[f"{prefix}fused"], tolerance)
        return
    assert_close(network.rebuilt(reference)[0], tensors[f"{prefix}recon_vis"], tolerance)
    assert_close(network.rebuilt(other)[0], tensors[f"{prefix}recon_ir"], tolerance)
