"""Hi-Net's first training step against tensors that the authors' own modules computed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parity_set import assert_close, part_of, read_case, weights_by_recipe
from torch import Tensor, nn

from MedFusionLib.methods.checkpoints import (
    Rules,
    author_key,
    filled_renamed,
    stored_shapes,
)
from MedFusionLib.methods.hinet import Architecture, HiNet
from MedFusionLib.methods.hinet.author_weights import RULES
from MedFusionLib.training.hinet_discriminator import Discriminator
from MedFusionLib.training.hinet_losses import discriminator_loss, generator_terms
from MedFusionLib.training.hinet_module import BETAS

OF_DISCRIMINATOR: Rules = ((r"^", "model."),)


def made_up(network: nn.Module, rules: Rules, salt: str, gain: float) -> nn.Module:
    shapes = {author_key(key, rules): shape for key, shape in stored_shapes(network).items()}
    filled = filled_renamed(network, weights_by_recipe(shapes, int(salt, 16), gain), rules)
    # In double precision, so that no processor's order of summation has a say.
    return filled.double().train()


class FirstStep:
    """One step of both networks, in the order of ``HiNetTraining``, and what it leaves behind."""

    def __init__(self, folder: Path) -> None:
        expected, metadata = read_case(folder / "trainstep_prng.safetensors")
        self.expected = {key: value.double() for key, value in expected.items()}
        salt, config = metadata["salt"], metadata["config"]
        width = Architecture(config["ngf"])
        self.network = made_up(HiNet(width), RULES, salt, float(metadata["gain_generator"]))
        gain = float(metadata["gain_discriminator"])
        self.discriminator = made_up(Discriminator(), OF_DISCRIMINATOR, salt, gain)
        assert tuple(config["betas"]) == BETAS
        self.optimizer = torch.optim.Adam(self.network.parameters(), config["lr"], BETAS)
        self.first, self.second, self.target = (self.expected[f"in.x{i}"] for i in (1, 2, 3))
        self.step()

    def step(self) -> None:
        given = self.network(self.first, self.second)
        given.target.retain_grad()
        self.made = given.target
        self.terms = generator_terms(
            given, self.discriminator(given.target), self.target, self.first, self.second
        )
        torch.stack(list(self.terms.values())).sum().backward()
        self.gradients = {
            author_key(key, RULES): parameter.grad
            for key, parameter in self.network.named_parameters()
        }
        self.optimizer.step()
        self.loss = discriminator_loss(
            self.discriminator(self.target), self.discriminator(given.target.detach())
        )
        self.discriminator.zero_grad()
        self.loss.backward()
        self.gradients |= {
            f"D.{author_key(key, OF_DISCRIMINATOR)}": parameter.grad
            for key, parameter in self.discriminator.named_parameters()
        }


@pytest.fixture(scope="module")
def step(shared: Path) -> FirstStep:
    return FirstStep(shared / "parity" / "hinet")


def assert_relative(found: Tensor, expected: Tensor, tolerance: float) -> None:
    worst = ((found - expected).abs() / expected.abs().clamp(min=1e-12)).max().item()
    assert worst <= tolerance, f"worst relative difference {worst:.2e}"


def test_the_losses_are_the_authors(step: FirstStep) -> None:
    expected, terms = part_of(step.expected, "loss."), step.terms
    assert_close(step.made, step.expected["out.x_fake"])
    for name, weight, key in (
        ("adversarial", 1, "gan_g"),
        ("target", 100, "l1_target"),
        ("first", 20, "l1_x1"),
        ("second", 20, "l1_x2"),
    ):
        assert_relative(terms[name] / weight, expected[key], 1e-5)
    total = torch.stack(list(terms.values())).sum()
    assert_relative(total, expected["G"], 1e-5)
    assert_relative(step.loss, expected["D"], 1e-5)


def test_the_gradients_are_the_authors(step: FirstStep) -> None:
    assert step.made.grad is not None
    assert_close(step.made.grad, step.expected["grad_wrt_x_fake"], 1e-5)
    names = {key.removesuffix(".l2").removeprefix("grad.") for key in step.expected if "l2" in key}
    assert names == set(step.gradients)
    for name in sorted(names):
        gradient = step.gradients[name]
        expected = step.expected[f"grad.{name}.l2"]
        # Before batch normalisation a bias has no effect: what it gets is rounding noise.
        if expected > 1e-4:
            assert_relative(gradient.norm().view(1), expected, 1e-3)


@torch.no_grad()
def test_the_step_leads_where_the_authors_leads(step: FirstStep) -> None:
    statistics = step.discriminator[3]
    assert_close(statistics.running_mean, step.expected["after.D.bn1.running_mean"], 1e-5)
    assert_close(statistics.running_var, step.expected["after.D.bn1.running_var"], 1e-5)
    given = step.network(step.first, step.second)
    assert_close(given.target, step.expected["after_adam.x_fake"], 1e-3)
