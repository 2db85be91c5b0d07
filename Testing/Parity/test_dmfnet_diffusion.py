"""DM-FNet's schedules, noising, sampling steps and losses against the authors' tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from MedFusionLib.methods.dmfnet import unet_from_author_state
from MedFusionLib.methods.dmfnet.diffusion import (
    CleanImageTarget,
    Diffusion,
    add_noise,
    clean_from_noise,
    make_schedule,
    noise_from_clean,
)
from MedFusionLib.methods.dmfnet.losses import (
    denoising_loss,
    gaussian_window,
    gradient_loss,
    hybrid_loss,
    intensity_loss,
    sobel_magnitude,
    structure_loss,
    structure_similarity,
)


def read_case(shared: Path, name: str) -> tuple[dict[str, Tensor], dict]:
    import json

    with safe_open(shared / "parity" / "dmfnet" / f"{name}.safetensors", "pt") as case:
        metadata = {key: json.loads(value) for key, value in (case.metadata() or {}).items()}
        return {key: case.get_tensor(key) for key in case.keys()}, metadata  # noqa: SIM118


def assert_close(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["linear", "cosine", "quad", "const", "warmup10", "jsd"])
def test_every_table_of_a_schedule_equals_the_authors(shared: Path, name: str) -> None:
    tensors, metadata = read_case(shared, "schedules")
    schedule = make_schedule(**metadata["items"][name])

    tables = schedule.tables()

    stored = {key.partition(".")[2] for key in tensors if key.startswith(f"{name}.")}
    assert stored == set(tables) | {"betas_f64", "sqrt_alphas_cumprod_prev_f64"}
    for key, table in tables.items():
        assert_close(table, tensors[f"{name}.{key}"], 1e-6)
    levels, betas = torch.from_numpy(schedule.levels), torch.from_numpy(schedule.betas)
    assert_close(levels, tensors[f"{name}.sqrt_alphas_cumprod_prev_f64"], 1e-12)
    assert_close(betas, tensors[f"{name}.betas_f64"], 1e-12)


@pytest.fixture(params=["diffusion_linear", "diffusion_cosine"])
def case(request: pytest.FixtureRequest, shared: Path):
    tensors, metadata = read_case(shared, request.param)
    state = {k.removeprefix("param."): v for k, v in tensors.items() if k.startswith("param.")}
    unet = unet_from_author_state(state, **metadata["config"])
    schedule = make_schedule(**metadata["schedule"])
    return tensors, Diffusion(unet, schedule, CleanImageTarget())


def test_noise_is_added_as_the_authors_do(case) -> None:
    tensors, _ = case
    found = add_noise(tensors["in.x0"], tensors["in.noise"], tensors["q_sample.level"])
    assert_close(found, tensors["q_sample.out"], 1e-6)


@torch.no_grad()
def test_the_denoising_loss_equals_the_authors(case) -> None:
    tensors, diffusion = case
    level = tensors["p_losses.level"].float()[:, None]
    bounds = diffusion.schedule.level_bounds(int(tensors["p_losses.t"]))
    pair = diffusion.training_pair(tensors["in.x0"], tensors["in.noise"], level)
    assert_close(torch.tensor(bounds).double(), tensors["p_losses.level_bounds"], 1e-6)
    assert_close(denoising_loss(*pair), tensors["p_losses.loss_per_elem"], 1e-5)


@pytest.mark.parametrize("step", [5, 10, 20])
@torch.no_grad()
def test_the_features_of_noisy_images_equal_the_authors(case, step: int) -> None:
    tensors, diffusion = case
    stored = {k.removeprefix(f"feats.t{step}."): v for k, v in tensors.items() if f".t{step}." in k}
    level = stored["level"].float()[:, None]

    noisy = add_noise(tensors["in.x0"], tensors["in.noise"], level)
    prediction, features = diffusion.denoiser.forward_with_features(noisy, level)

    bounds = torch.tensor(diffusion.schedule.level_bounds(step), dtype=torch.float64)
    assert_close(bounds, stored["level_bounds"], 1e-6)
    assert_close(noisy, stored["x_noisy"], 1e-6)
    assert_close(prediction, stored["x_final"], 1e-4)
    for index in (2, 5, 8, 11, 14):
        assert_close(features[index], stored[f"fd.{index}"], 1e-4)


@pytest.mark.parametrize("index", [0, 1, 50, 1999])
@torch.no_grad()
def test_one_reverse_step_equals_the_authors(case, index: int) -> None:
    tensors, diffusion = case
    stored = {
        k.removeprefix(f"reverse.t{index}."): v
        for k, v in tensors.items()
        if k.startswith(f"reverse.t{index}.")
    }
    noisy, clean = tensors["in.noise"], tensors["in.x0"]
    level = torch.tensor([[diffusion.schedule.levels[index + 1]]])

    mean, log_variance = diffusion.posterior(noisy, index)

    assert_close(mean, stored["mean"], 1e-4)
    assert_close(log_variance, stored["logvar"], 1e-5)
    for found, key in (
        (noise_from_clean(noisy, clean, level), "predict_noise_from_start"),
        (clean_from_noise(noisy, clean, level), "predict_start_from_noise"),
    ):
        assert_close(found, stored[key], 1e-4)


@pytest.mark.parametrize("name", ["smooth", "uniform"])
def test_the_losses_and_their_gradient_equal_the_authors(shared: Path, name: str) -> None:
    tensors, _ = read_case(shared, "losses")
    stored = {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(name)}
    fused = stored["gen"].clone().requires_grad_()
    images = fused, stored["ir_mri"], stored["vis_other"]

    total = hybrid_loss(*images)
    total.backward()

    assert_close(gaussian_window(), tensors["gaussian_window_11"], 1e-6)
    assert_close(sobel_magnitude(fused).detach(), stored["sobel_of_gen"], 1e-6)
    assert_close(intensity_loss(*images).detach(), stored["l1_intensity_raw"], 1e-6)
    assert_close(gradient_loss(*images).detach(), stored["sobel_l1"], 1e-6)
    assert_close(structure_similarity(*images).detach(), stored["struct_ssim"], 1e-6)
    assert_close(structure_loss(*images).detach(), stored["half_one_minus_ssim"], 1e-6)
    assert_close(total.detach(), stored["total"], 1e-6)
    assert_close(fused.grad, stored["dtotal_dgen"], 1e-6)
