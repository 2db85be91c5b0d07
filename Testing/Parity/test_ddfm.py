"""DDFM's iteration, schedule and drawing against tensors that the authors' own code computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from parity_set import assert_close, read_case
from torch import Tensor

from MedFusionLib.methods.ddfm.expectation_maximisation import (
    ExpectationMaximisation,
    difference_transfer,
    smooth_image,
)
from MedFusionLib.methods.ddfm.sampling import (
    full_schedule,
    next_image,
    spaced_levels,
    spaced_steps,
)
from MedFusionLib.methods.dmfnet.diffusion import Diffusion, NoiseTarget, clean_from_noise

COLOURS = np.array(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
)
OFFSETS = np.array([16, 128, 128]) / 255
"""ITU-R BT.601, as the authors' scikit-image takes it, here for a range of 255."""


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "parity" / "ddfm"


@pytest.mark.parametrize("case", ["em_32x48", "em_odd_rho01"])
def test_three_steps_of_the_iteration_carry_the_authors_state(folder: Path, case: str) -> None:
    tensors, metadata = read_case(folder / f"{case}.safetensors")
    iteration = ExpectationMaximisation(
        tensors["in.V"], tensors["in.I"], metadata["config"]["lamb"], metadata["config"]["rho"]
    )
    for step in range(3):
        fused = iteration.fuse(tensors[f"step{step}.in.f_pre"])
        ours = {
            "C": iteration.other_weight,
            "D": iteration.reference_weight,
            "tau_a": iteration.other_scale.flatten(),
            "tau_b": iteration.reference_scale.flatten(),
            "H": iteration.smooth,
            "F1": iteration.column_edges,
            "F2": iteration.row_edges,
            "out.F": fused,
        }
        for name, found in ours.items():
            assert_close(found, tensors[f"step{step}.{name}"], 1e-6)


@pytest.mark.parametrize("case", ["em_32x48", "em_odd_rho01"])
def test_the_smooth_image_solves_the_authors_equation(folder: Path, case: str) -> None:
    tensors, _ = read_case(folder / f"{case}.safetensors")
    transfers = [difference_transfer(tensors["in.I"], axis) for axis in (-1, -2)]
    for transfer, name in zip(transfers, ("fft_k1", "fft_k2"), strict=True):
        assert_close(transfer.real, tensors[f"init.{name}.re"], 1e-6)
        assert_close(transfer.imag, tensors[f"init.{name}.im"], 1e-6)
    edges = tensors["prox.in.F1"], tensors["prox.in.F2"]
    found = smooth_image(tensors["prox.in.X"], edges, (transfers[0], transfers[1]))
    assert_close(found, tensors["prox.out.H"], 1e-6)


def test_the_schedule_and_its_spacing_are_the_authors(folder: Path) -> None:
    tensors, _ = read_case(folder / "schedule.safetensors")
    schedule = full_schedule()
    betas = torch.from_numpy(schedule.betas)
    assert_close(betas, tensors["linear.betas_f64"], 1e-12)
    kept = torch.from_numpy(schedule.levels[1:] ** 2)
    assert_close(kept, tensors["linear.alphas_cumprod_f64"], 1e-12)
    for count, name in ((100, "space.1000_100"), (25, "space.1000_str_25")):
        assert [step - 1 for step in spaced_steps(count)] == tensors[name].tolist()
    levels = spaced_levels(schedule, 100).flip(0)
    assert_close(levels[1:] ** 2, tensors["respaced100.alphas_cumprod_f64"], 1e-12)
    assert_close(levels[:-1] ** 2, tensors["respaced100.alphas_cumprod_prev_f64"], 1e-12)


def stand_in(noisy: Tensor, level: Tensor) -> Tensor:
    """The denoiser that the sets' metadata describe; it is told the step, not the level."""
    levels = torch.from_numpy(full_schedule().levels[1:])
    step = int((levels - level.double()[0, 0]).abs().argmin())
    moved = torch.roll(noisy, (1, -2), (-2, -1))
    mean = noisy.mean(1, keepdim=True)
    return 0.6 * noisy + 0.25 * torch.tanh(1.5 * moved) + 0.1 * np.sin(step / 97) * mean


def luma_rule(rule: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """What an estimate in colours (1, 3, H, W) becomes when the rule is given its luma alone."""

    def replaced(clean: Tensor) -> Tensor:
        matrix = COLOURS / 255
        planes = np.einsum("cd,bdhw->bchw", matrix, clean.double().numpy())
        planes += OFFSETS[:, None, None]
        planes[:, :1] = rule(torch.from_numpy(planes[:, :1]).float()).numpy()
        planes -= OFFSETS[:, None, None]
        colours = np.einsum("cd,bdhw->bchw", np.linalg.inv(matrix), planes)
        return torch.from_numpy(colours).float()

    return replaced


DIFFUSION = Diffusion(stand_in, full_schedule(), NoiseTarget())


@pytest.mark.parametrize("index", [99, 50, 1, 0])
def test_a_step_is_the_authors(folder: Path, index: int) -> None:
    tensors, _ = read_case(folder / "reverse_step_respaced100.safetensors")
    levels = spaced_levels(full_schedule(), 100).flip(0).view(-1, 1, 1)
    level, noisy = levels[index + 1], tensors[f"idx{index}.in.x"]
    noise = stand_in(noisy, level)
    assert_close(noise, tensors[f"idx{index}.net_eps"], 1e-5)
    clean = clean_from_noise(noisy, noise, level).clamp(-1, 1)
    assert_close(clean, tensors[f"idx{index}.x0_before_em"])
    rule = luma_rule(ExpectationMaximisation(tensors["in.V"], tensors["in.I"]).fuse)
    assert_close(rule(clean), tensors[f"idx{index}.x0_after_em"])
    rule = luma_rule(ExpectationMaximisation(tensors["in.V"], tensors["in.I"]).fuse)
    found = next_image(DIFFUSION, level, levels[index], noisy, rule)
    assert_close(found, tensors[f"idx{index}.out.x_prev"])


def test_a_chain_of_ten_steps_ends_in_the_authors_image(folder: Path) -> None:
    tensors, _ = read_case(folder / "chain_respaced10.safetensors")
    iteration = ExpectationMaximisation(tensors["in.V"], tensors["in.I"])
    rule = luma_rule(iteration.fuse)
    levels = spaced_levels(full_schedule(), 10).view(-1, 1, 1)
    noisy = tensors["in.x_start"]
    for index in range(9, -1, -1):
        noisy = next_image(DIFFUSION, levels[9 - index], levels[10 - index], noisy, rule)
        assert_close(iteration.other_scale.flatten(), tensors[f"tau_a.idx{index}"])
        assert_close(iteration.reference_scale.flatten(), tensors[f"tau_b.idx{index}"])
        if f"out.x_after_idx{index}" in tensors:
            assert_close(noisy, tensors[f"out.x_after_idx{index}"])
    # Their luma is OpenCV's now, of full range.
    shown = torch.einsum("c,chw->hw", torch.tensor([0.299, 0.587, 0.114]), noisy[0])
    assert_close(shown, tensors["out.Y"])
