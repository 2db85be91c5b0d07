"""What stage I learned: the denoising curve and sampled images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from MedFusionLib.methods.dmfnet.diffusion import Diffusion, NoiseSchedule, add_noise

CURVE_STEPS = (5, 10, 20, 50, 100, 200, 400, 600, 800, 1000, 1200, 1400, 1600, 1800, 1950)


@torch.no_grad()
def denoising_errors(
    diffusion: Diffusion, clean: Tensor, steps: Sequence[int], seed: int
) -> dict[int, Tensor]:
    """Mean squared error (N,) of the predicted clean images, for each step of the schedule.

    ``clean`` are images (N, 1, H, W) in [-1, 1]. The noise depends on the seed alone.
    """
    errors = {}
    for step in steps:
        noisy, level = noisy_at(diffusion.schedule, clean, step, seed)
        predicted = diffusion.predict_clean(noisy, level)
        errors[step] = (predicted.float() - clean).square().flatten(1).mean(1)
    return errors


def noisy_at(schedule: NoiseSchedule, clean: Tensor, step: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the images at one step of the schedule and their noise level (1, 1), float64."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    level = torch.tensor([[schedule.levels[step]]], dtype=torch.float64)
    return add_noise(clean, noise, level), level


def denoising_curve(
    diffusion: Diffusion, batches: Iterable[Tensor], steps: Sequence[int], seed: int
) -> pd.DataFrame:
    """Error of the predicted clean image against the noise level, over all images.

    ``batches`` are images (N, 1, H, W) in [-1, 1]. Columns: ``step``, ``noise_level`` (the clean
    image's factor), ``noise_deviation`` (the noise's), ``error`` (mean squared error of the
    prediction) and ``error_without_network`` (that of the noisy image divided by its level and
    clipped to [-1, 1], which is what one has without having learned anything).
    """
    images = list(batches)
    rows = []
    for step in steps:
        level = float(diffusion.schedule.levels[step])
        errors = [denoising_errors(diffusion, clean, (step,), seed)[step] for clean in images]
        naive = [_error_without_network(diffusion.schedule, clean, step, seed) for clean in images]
        rows.append(
            {
                "step": step,
                "noise_level": level,
                "noise_deviation": float(np.sqrt(1 - level**2)),
                "error": float(torch.cat(errors).mean()),
                "error_without_network": float(torch.cat(naive).mean()),
            }
        )
    return pd.DataFrame(rows)


def _error_without_network(schedule: NoiseSchedule, clean: Tensor, step: int, seed: int) -> Tensor:
    noisy, level = noisy_at(schedule, clean, step, seed)
    guess = (noisy / level.to(noisy)).clamp(-1, 1)
    return (guess - clean).square().flatten(1).mean(1)


@torch.no_grad()
def sample_images(
    diffusion: Diffusion, count: int, side: int, step_count: int, seed: int
) -> np.ndarray:
    """Draw new images from pure noise: uint8 (count, side, side), DDIM with ``step_count`` steps.

    ``side`` is a multiple of the UNet's stride.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((count, 1, side, side), generator=generator)
    *_, images = diffusion.ddim_steps(noise, step_count)
    unit = ((images[:, 0] + 1) / 2).clamp(0, 1)
    return (unit * 255).round().to(torch.uint8).numpy()
