"""The diffusion process: noise schedules, adding noise, and two ways of sampling.

Ho, Jain and Abbeel, "Denoising diffusion probabilistic models", 2020 (ancestral steps); Song,
Meng and Ermon, "Denoising diffusion implicit models", 2021 (DDIM); Nichol and Dhariwal, 2021
(cosine schedule). The network is told the noise level, the factor of the clean image in the
noisy one, instead of the step number (Chen et al., "WaveGrad", 2021).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""Maps noisy images (B, 1, H, W) and their noise levels (B, 1) to a prediction."""

COSINE_OFFSET = 0.008
LARGEST_BETA = 0.999


def _linear(count: int, start: float, end: float) -> np.ndarray:
    return np.linspace(start, end, count)


def _quadratic(count: int, start: float, end: float) -> np.ndarray:
    return np.linspace(start**0.5, end**0.5, count) ** 2


def _constant(count: int, start: float, end: float) -> np.ndarray:
    return np.full(count, end)


def _warm_up(fraction: float) -> Callable[[int, float, float], np.ndarray]:
    def betas(count: int, start: float, end: float) -> np.ndarray:
        rising = int(count * fraction)
        return np.concatenate([np.linspace(start, end, rising), np.full(count - rising, end)])

    return betas


def _reciprocal(count: int, start: float, end: float) -> np.ndarray:
    return 1.0 / np.linspace(count, 1, count)


def _cosine(count: int, start: float, end: float) -> np.ndarray:
    moments = np.arange(count + 1) / count
    kept = np.cos((moments + COSINE_OFFSET) / (1 + COSINE_OFFSET) * np.pi / 2) ** 2
    return np.minimum(1 - kept[1:] / kept[:-1], LARGEST_BETA)


SCHEDULES: dict[str, Callable[[int, float, float], np.ndarray]] = {
    "linear": _linear,
    "cosine": _cosine,
    "quad": _quadratic,
    "const": _constant,
    "warmup10": _warm_up(0.1),
    "warmup50": _warm_up(0.5),
    "jsd": _reciprocal,
}


@dataclass(frozen=True)
class NoiseSchedule:
    """The noise of each of T steps, and what follows from it.

    ``betas`` are float64, of length T: the variance that step k = 1 … T adds (at index k - 1).
    Tables that enter sampling are float32, as in the authors' checkpoints.
    """

    betas: np.ndarray

    @property
    def step_count(self) -> int:
        return len(self.betas)

    @property
    def levels(self) -> np.ndarray:
        """Noise levels of steps 0 … T: the clean image's factor, float64, from 1 downwards."""
        return np.sqrt(np.concatenate([[1.0], np.cumprod(1 - self.betas)]))

    def tables(self) -> dict[str, Tensor]:
        """Return the float32 tables of length T under the names the checkpoints use.

        A schedule whose last step leaves no signal (``jsd``) has infinities in it.
        """
        kept = np.cumprod(1 - self.betas)
        kept_before = np.concatenate([[1.0], kept[:-1]])
        with np.errstate(divide="ignore"):
            variance = self.betas * (1 - kept_before) / (1 - kept)
            tables = {
                "betas": self.betas,
                "alphas_cumprod": kept,
                "alphas_cumprod_prev": kept_before,
                "sqrt_alphas_cumprod": np.sqrt(kept),
                "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - kept),
                "log_one_minus_alphas_cumprod": np.log(1 - kept),
                "sqrt_recip_alphas_cumprod": np.sqrt(1 / kept),
                "sqrt_recipm1_alphas_cumprod": np.sqrt(1 / kept - 1),
                "posterior_variance": variance,
                "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
                "posterior_mean_coef1": self.betas * np.sqrt(kept_before) / (1 - kept),
                "posterior_mean_coef2": (1 - kept_before) * np.sqrt(1 - self.betas) / (1 - kept),
            }
        return {name: torch.from_numpy(table).float() for name, table in tables.items()}

    def level_bounds(self, step: int) -> tuple[float, float]:
        """Return the noise levels of ``step`` - 1 and ``step``, the larger one first.

        Raises:
            ValueError: if the step is not one of 1 … T.
        """
        if not 1 <= step <= self.step_count:
            raise ValueError(f"The schedule has the steps 1 to {self.step_count}, not {step}.")
        levels = self.levels
        return float(levels[step - 1]), float(levels[step])

    def draw_levels(self, step: int, count: int, generator: torch.Generator) -> Tensor:
        """Draw ``count`` noise levels evenly between those of the neighbouring steps: (count, 1).

        The generator is on the CPU, so that every device gets the same float32 numbers.
        """
        upper, lower = self.level_bounds(step)
        drawn = torch.rand((count, 1), generator=generator, dtype=torch.float64)
        return (upper + (lower - upper) * drawn).float()


def make_schedule(
    schedule: str, n_timestep: int, linear_start: float = 1e-6, linear_end: float = 1e-2
) -> NoiseSchedule:
    """Build a schedule; the argument names are those of the authors' configuration files.

    Raises:
        ValueError: if there is no schedule of that name.
    """
    if schedule not in SCHEDULES:
        raise ValueError(
            f"There is no noise schedule '{schedule}'. Choose one of: {', '.join(SCHEDULES)}."
        )
    return NoiseSchedule(SCHEDULES[schedule](n_timestep, linear_start, linear_end))


def add_noise(clean: Tensor, noise: Tensor, noise_level: Tensor) -> Tensor:
    """Return ``γ · clean + sqrt(1 - γ²) · noise`` for images (B, 1, H, W) and levels γ (B, 1)."""
    signal_share, noise_share = _shares(noise_level, clean)
    return signal_share * clean + noise_share * noise


def _shares(noise_level: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return γ and sqrt(1 - γ²) as (B, 1, 1, 1), beside the image.

    Almost clean images have γ so close to 1 that 1 - γ² needs float64; pass γ as such where the
    noise share is divided by.
    """
    level = noise_level[..., None, None]
    return level.to(image), (1 - level**2).sqrt().to(image)


class PredictionTarget(Protocol):
    """What the network predicts, and how the clean image follows from it."""

    def wanted(self, clean: Tensor, noise: Tensor) -> Tensor: ...

    def clean(self, prediction: Tensor, noisy: Tensor, noise_level: Tensor) -> Tensor: ...


class CleanImageTarget:
    """The network predicts the clean image itself, as in the paper's code."""

    def wanted(self, clean: Tensor, noise: Tensor) -> Tensor:
        return clean

    def clean(self, prediction: Tensor, noisy: Tensor, noise_level: Tensor) -> Tensor:
        return prediction


class NoiseTarget:
    """The network predicts the noise that was added."""

    def wanted(self, clean: Tensor, noise: Tensor) -> Tensor:
        return noise

    def clean(self, prediction: Tensor, noisy: Tensor, noise_level: Tensor) -> Tensor:
        return clean_from_noise(noisy, prediction, noise_level)


TARGETS: dict[str, PredictionTarget] = {"clean": CleanImageTarget(), "noise": NoiseTarget()}


def clean_from_noise(noisy: Tensor, noise: Tensor, noise_level: Tensor) -> Tensor:
    """Return the clean image that this noise was added to, at float64 levels (B, 1)."""
    signal_share, noise_share = _shares(noise_level, noisy)
    return (noisy - noise_share * noise) / signal_share


def noise_from_clean(noisy: Tensor, clean: Tensor, noise_level: Tensor) -> Tensor:
    """Return the noise that was added to this clean image, at float64 levels (B, 1)."""
    signal_share, noise_share = _shares(noise_level, noisy)
    return (noisy - signal_share * clean) / noise_share


class Diffusion:
    """Sampling with a trained denoiser: from noise to images, step by step."""

    def __init__(
        self, denoiser: Denoiser, schedule: NoiseSchedule, target: PredictionTarget
    ) -> None:
        self.denoiser = denoiser
        self.schedule = schedule
        self.target = target
        self.tables = schedule.tables()

    def training_pair(
        self, clean: Tensor, noise: Tensor, noise_level: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the network's prediction for the noisy images and what it should have been."""
        prediction = self.denoiser(add_noise(clean, noise, noise_level), noise_level)
        return prediction, self.target.wanted(clean, noise)

    def predict_clean(self, noisy: Tensor, noise_level: Tensor) -> Tensor:
        """Return the network's idea of the clean images, kept within [-1, 1]."""
        prediction = self.denoiser(noisy, noise_level.to(noisy).expand(len(noisy), 1))
        return self.target.clean(prediction, noisy, noise_level).clamp(-1, 1)

    def posterior(self, noisy: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """Return mean (B, 1, H, W) and log-variance (1,) of the image one step less noisy.

        ``index`` counts from 0, so that it leads from step ``index`` + 1 to step ``index``.
        """
        clean = self.predict_clean(noisy, self._level(index + 1))
        mean = (
            self.tables["posterior_mean_coef1"][index] * clean
            + self.tables["posterior_mean_coef2"][index] * noisy
        )
        return mean, self.tables["posterior_log_variance_clipped"][index : index + 1]

    def ancestral_steps(self, noisy: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the images after each of the T steps, the last one clean.

        Args:
            noisy: pure noise (B, 1, H, W).
            generator: source of each step's fresh noise, on the CPU.
        """
        for index in reversed(range(self.schedule.step_count)):
            noisy, log_variance = self.posterior(noisy, index)
            if index > 0:
                noise = torch.randn(noisy.shape, generator=generator).to(noisy)
                noisy = noisy + (0.5 * log_variance).exp().to(noisy) * noise
            yield noisy

    def ddim_steps(self, noisy: Tensor, step_count: int) -> Iterator[Tensor]:
        """Yield the images after each of ``step_count`` deterministic steps (DDIM, η = 0).

        Raises:
            ValueError: if ``step_count`` is not within 1 … T.
        """
        if not 1 <= step_count <= self.schedule.step_count:
            raise ValueError(
                f"DDIM takes 1 to {self.schedule.step_count} steps here, not {step_count}."
            )
        steps = np.linspace(self.schedule.step_count, 0, step_count + 1).round().astype(int)
        for step, next_step in pairwise(steps):
            level = self._level(step)
            clean = self.predict_clean(noisy, level)
            noise = noise_from_clean(noisy, clean, level)
            noisy = add_noise(clean, noise, self._level(next_step))
            yield noisy

    def _level(self, step: int) -> Tensor:
        return torch.tensor([[self.schedule.levels[step]]], dtype=torch.float64)
