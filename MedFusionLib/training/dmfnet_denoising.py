"""What stage I learned: the denoising curve and sampled images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from MedFusionLib.errors import InputError
from MedFusionLib.methods.dmfnet.diffusion import (
    CleanImageTarget,
    Diffusion,
    NoiseSchedule,
    add_noise,
    make_schedule,
)
from MedFusionLib.methods.dmfnet.weights_file import read_unet
from MedFusionLib.training.data import PairDataset, read_pairs, validation_loader

STAGE_ONE_SCHEDULE = ("cosine", 2000)
BATCH_SIZE = 8

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


def stage_one_diffusion(unet_file: Path) -> Diffusion:
    """Return the diffusion process of a trained UNet, with the schedule it was trained on.

    Raises:
        WeightsError: if the file holds no UNet of DM-FNet.
    """
    unet, _ = read_unet(unet_file)
    return Diffusion(unet.eval(), make_schedule(*STAGE_ONE_SCHEDULE), CleanImageTarget())


def write_curve(
    data: Path, unet_file: Path, table: Path, split: str, every_nth_pair: int, seed: int
) -> None:
    """Write the denoising curve over both images of a split's pairs as CSV or JSON.

    Raises:
        InputError: for missing data or a table that is neither .csv nor .json.
        WeightsError: if the file holds no UNet of DM-FNet.
    """
    if table.suffix not in (".csv", ".json"):
        raise InputError(f"The curve is written as .csv or .json, not as '{table.name}'.")
    pairs = read_pairs(data, split)[::every_nth_pair]
    batches = [
        2 * torch.cat(batch) - 1 for batch in validation_loader(PairDataset(pairs), BATCH_SIZE)
    ]
    curve = denoising_curve(stage_one_diffusion(unet_file), batches, CURVE_STEPS, seed)
    if table.suffix == ".csv":
        curve.to_csv(table, index=False)
    else:
        curve.to_json(table, orient="records", indent=2)


def write_sample_sheet(
    unet_file: Path, picture: Path, count: int, side: int, step_count: int, seed: int
) -> None:
    """Write newly drawn images, side by side, as one grey PNG.

    Raises:
        WeightsError: if the file holds no UNet of DM-FNet.
        ValueError: for a side that is no multiple of the UNet's stride.
    """
    images = sample_images(stage_one_diffusion(unet_file), count, side, step_count, seed)
    Image.fromarray(np.concatenate(list(images), axis=1)).save(picture)
