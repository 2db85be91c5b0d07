"""Drawing an image from noise by a denoiser, led at every step by a rule for its estimates.

The schedule is that of OpenAI's guided diffusion (Dhariwal and Nichol, NeurIPS 2021), the steps
are deterministic (Song, Meng and Ermon, "Denoising diffusion implicit models", 2021, η = 0).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from MedFusionLib.methods.dmfnet.diffusion import (
    Diffusion,
    NoiseSchedule,
    add_noise,
    make_schedule,
    noise_from_clean,
)

Rule = Callable[[Tensor], Tensor]
"""Maps estimates (N, C, H, W) of the clean image around [-1, 1] to better ones."""

SCHEDULE_STEPS = 1000


def full_schedule() -> NoiseSchedule:
    """The schedule of the authors: 1000 steps, variances rising linearly from 1e-4 to 0.02."""
    return make_schedule("linear", SCHEDULE_STEPS, 1e-4, 2e-2)


def spaced_steps(step_count: int, total: int = SCHEDULE_STEPS) -> list[int]:
    """``step_count`` of the steps 1 … ``total``, evenly spaced, both ends among them.

    A single step is the noisiest one, where the authors' would be the cleanest.

    Raises:
        ValueError: if ``step_count`` is not within 1 … ``total``.
    """
    if not 1 <= step_count <= total:
        raise ValueError(f"DDFM takes 1 to {total} steps, not {step_count}.")
    if step_count == 1:
        return [total]
    stride = (total - 1) / (step_count - 1)
    return [1 + round(index * stride) for index in range(step_count)]


def spaced_levels(schedule: NoiseSchedule, step_count: int) -> Tensor:
    """Noise levels of the steps of a drawing, the noisiest first, then 1: float64 (steps + 1,)."""
    steps = [0, *spaced_steps(step_count, schedule.step_count)]
    return torch.from_numpy(schedule.levels[steps[::-1]].copy())


def draw_images(diffusion: Diffusion, levels: Tensor, noisy: Tensor, rule: Rule) -> Tensor:
    """Lead pure noise (N, C, H, W) to clean images, whose last estimate the rule has made.

    Args:
        diffusion: what estimates the clean image; the estimates are kept within [-1, 1].
        levels: of ``spaced_levels``.
        noisy: the noise to begin with.
        rule: what is made of each estimate.
    """
    for level, next_level in pairwise(levels.view(-1, 1, 1)):
        noisy = next_image(diffusion, level, next_level, noisy, rule)
    return noisy


def next_image(
    diffusion: Diffusion, level: Tensor, next_level: Tensor, noisy: Tensor, rule: Rule
) -> Tensor:
    """One step from images at a noise level to the next one; both levels are float64 (1, 1)."""
    clean = rule(diffusion.predict_clean(noisy, level))
    return add_noise(clean, noise_from_clean(noisy, clean, level), next_level)
