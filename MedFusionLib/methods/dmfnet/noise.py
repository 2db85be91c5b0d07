"""The noise of a fusion run: reproducible for each slice on every device."""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from MedFusionLib.methods.dmfnet.diffusion import NoiseSchedule


class Source(IntEnum):
    """Which of the two images a noise is for."""

    REFERENCE = 0
    OTHER = 1


def noise_generator(
    seed: int, slice_index: int, step: int, source: Source, draw: int
) -> torch.Generator:
    """Return a CPU generator of its own for each combination of the arguments (none negative)."""
    mixed = np.random.SeedSequence([seed, slice_index, step, int(source), draw])
    return torch.Generator().manual_seed(int(mixed.generate_state(1, np.uint64)[0] >> 1))


def slice_noise(
    schedule: NoiseSchedule,
    seed: int,
    slice_indices: Sequence[int],
    step: int,
    source: Source,
    draw: int,
    size: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Draw noise (N, 1, H, W) and noise levels (N, 1) for slices of H × W pixels, on the CPU.

    A slice's numbers depend on its own index alone, not on the batch it is in.
    """
    noises, levels = [], []
    for slice_index in slice_indices:
        generator = noise_generator(seed, slice_index, step, source, draw)
        levels.append(schedule.draw_levels(step, 1, generator))
        noises.append(torch.randn((1, 1, *size), generator=generator))
    return torch.cat(noises), torch.cat(levels)
