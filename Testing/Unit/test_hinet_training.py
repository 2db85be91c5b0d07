"""Hi-Net's training: what the modelled sequences show, and that a run learns and can go on."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from MedFusionLib.commands.train import app
from MedFusionLib.errors import InputError
from MedFusionLib.methods.hinet.weight_file import load_network
from MedFusionLib.training.hinet_contrasts import (
    INPUTS,
    PROTOCOLS,
    RELAXATION,
    ContrastModel,
)
from MedFusionLib.training.hinet_data import NEAR, SIDE, Head
from MedFusionLib.training.hinet_losses import error_loss
from MedFusionLib.volumes.files import write_volume
from MedFusionLib.volumes.volume import Volume

PLAIN = ContrastModel(
    jitter=0.0,
    acquired_share=0.0,
    bare_share=1.0,
    lesion_share=0.0,
    blur=0.0,
    shading=0.0,
    noise=0.0,
)


def volume(voxels: np.ndarray) -> Volume:
    return Volume(voxels.astype(np.uint8), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), modality="MR")


def ball_of_tissue() -> Head:
    """White matter in grey matter in fluid, 40 voxels wide."""
    k, j, i = np.ogrid[:44, :44, :44]
    radius = np.sqrt((k - 22) ** 2 + (j - 22) ** 2 + (i - 22) ** 2)
    white, grey = 255 * (radius < 8), 255 * ((radius >= 8) & (radius < 14))
    return Head(volume(200 * (radius < 20)), volume(grey), volume(white))


def test_slices_hold_shares_that_add_up_to_the_brain_and_nearness_around_it() -> None:
    slices = ball_of_tissue().slices()
    assert slices.shape[1:] == (5, SIDE, SIDE)
    shares = slices[:, :3].float().sum(1)
    brain = slices[:, 3] > 0
    assert torch.allclose(shares[brain], torch.ones(()), atol=1e-3)
    assert (shares[~brain] == 0).all()
    middle = slices[len(slices) // 2, 4].float()
    assert middle[SIDE // 2, SIDE // 2] == NEAR
    # The ball's last voxel is the 19th from its middle.
    assert float(NEAR - middle[SIDE // 2, SIDE // 2 + 21]) == pytest.approx(2, abs=0.5)
    assert float(NEAR - middle[SIDE // 2, SIDE // 2 + 40]) == NEAR


@pytest.mark.parametrize("target", INPUTS)
@torch.no_grad()
def test_the_target_is_the_spin_echo_of_the_tissue_in_closed_form(target: str) -> None:
    maps = torch.zeros(1, 5, 32, 32)
    for tissue in range(3):
        maps[:, tissue, :, 10 * tissue : 10 * tissue + 10] = 1
    shown = replace(PLAIN, target=target)(maps)
    repetition, echo = PROTOCOLS[target].target_times
    for tissue, (t1, t2, density) in enumerate(RELAXATION[:3]):
        signal = density * (1 - math.exp(-repetition / t1)) * math.exp(-echo / t2)
        found = float(shown.target[0, 0, 5, 10 * tissue + 5])
        assert found == pytest.approx(min(signal / PROTOCOLS[target].white_level, 1), abs=1e-5)


@torch.no_grad()
def test_fluid_is_dark_in_t1_and_bright_in_t2_and_a_lesion_is_bright_in_t2() -> None:
    torch.manual_seed(0)
    maps = torch.zeros(16, 5, 48, 48)
    maps[:, 1] = 1
    maps[:, 1, :8], maps[:, 2, :8] = 0, 1
    shown = PLAIN(maps)
    turned = replace(PLAIN, target="T1")(maps)
    for t1 in (shown.first, turned.target):
        assert (t1[:, :, :8].mean((1, 2, 3)) < t1[:, :, 8:].mean((1, 2, 3))).all()
    for t2 in (shown.target, turned.first):
        assert (t2[:, :, :8].mean((1, 2, 3)) > t2[:, :, 8:].mean((1, 2, 3))).all()
    ill = replace(PLAIN, lesion_share=1.0)(maps)
    assert float(ill.target[:, :, 8:].amax()) > float(shown.target[:, :, 8:].amax()) + 0.1
    dark = replace(PLAIN, lesion_share=1.0, target="T1")(maps)
    assert float(dark.target[:, :, 8:].amin()) < float(turned.target[:, :, 8:].amin()) - 0.1


@torch.no_grad()
def test_the_templates_own_t1_is_an_input_and_never_what_is_learnt() -> None:
    torch.manual_seed(0)
    maps = torch.zeros(2, 5, 16, 16)
    maps[:, 1] = 1
    maps[:, 3] = torch.rand(2, 1, 16)
    own = replace(PLAIN, acquired_share=1.0)
    assert (own(maps).first.std((1, 2, 3)) > 0.1).all()
    assert (replace(own, target="PD")(maps).first.std((1, 2, 3)) > 0.1).all()
    assert (replace(own, target="T1")(maps).target.std((1, 2, 3)) < 1e-6).all()


def test_the_error_head_learns_the_mean_error_and_leads_no_gradient_into_the_image() -> None:
    given = torch.zeros(1000, requires_grad=True)
    target = torch.linspace(-1, 1, 1000)
    expected = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.SGD([expected], 0.5)
    for _ in range(60):
        optimizer.zero_grad()
        error_loss(expected.expand(1000), given, target).backward()
        optimizer.step()
    assert float(expected.detach()) == pytest.approx(0.5, abs=1e-2)
    assert given.grad is None


def test_a_run_learns_writes_its_weights_and_goes_on(tmp_path: Path) -> None:
    head = ball_of_tissue()
    for name, part in (("t1", head.t1), ("grey", head.grey), ("white", head.white)):
        write_volume(part, tmp_path / f"{name}.nrrd")
    names = [word for name in ("t1", "grey", "white") for word in (f"--{name}", f"{name}.nrrd")]
    command = [
        "hinet",
        "--data",
        str(tmp_path),
        *names,
        "-o",
        str(tmp_path / "run"),
        "--crop",
        "64",
    ]
    hardware = ["--accelerator", "cpu", "--devices", "1", "--batch-size", "2", "--steps", "2"]
    runner = CliRunner()
    command += ["--target", "T1"]
    ran = runner.invoke(app, [*command, *hardware, "--epochs", "1"])
    assert ran.exit_code == 0, ran.output
    network, _ = load_network(tmp_path / "run" / "weights.safetensors")
    assert network.architecture.inputs == ("T2", "PD")
    assert network.architecture.target == "T1"
    again = runner.invoke(app, [*command, *hardware, "--epochs", "2", "--resume"])
    assert again.exit_code == 0, again.output
    wrong = runner.invoke(app, [*command[:-1], "FLAIR", *hardware, "--epochs", "1"])
    assert isinstance(wrong.exception, InputError) and "FLAIR" in str(wrong.exception)
