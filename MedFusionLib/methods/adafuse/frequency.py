"""Feature maps as magnitudes of their frequencies, and the ways back to pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from MedFusionLib.methods.blocks.precision import at_least_single

AXES = (1, 2, 3)
"""The published model centres over all axes, channels included; over the slices of a batch as
well, which would let one slice change another, and is the same for a single one."""
LARGEST = 12.0
"""Logarithm of a magnitude above which no spectrum of maps comes; training may try."""


def magnitudes(maps: Tensor) -> Tensor:
    """``(N, C, H, W)`` to the logarithm of 1 plus the centred spectrum's magnitude."""
    spectrum = torch.fft.fft2(at_least_single(maps))
    return torch.log1p(torch.fft.fftshift(spectrum, AXES).abs())


def without_phase(fused: Tensor, maps1: Tensor, maps2: Tensor) -> Tensor:
    """What the published model does: the fused logarithms themselves as a spectrum.

    Phase and exponential are left out, so that the result is a picture about the corner.
    """
    return torch.fft.ifft2(torch.fft.ifftshift(fused, AXES)).abs()


def with_phase_of_the_mean(fused: Tensor, maps1: Tensor, maps2: Tensor) -> Tensor:
    """Magnitudes that the fused logarithms mean, with the phase of both maps' mean.

    The fused logarithms are those of two images added, hence half of them.
    """
    magnitude = torch.expm1(torch.fft.ifftshift(fused, AXES).div(2).clamp(0, LARGEST))
    phase = torch.fft.fft2(at_least_single(maps1 + maps2)).angle()
    return torch.fft.ifft2(torch.polar(magnitude, phase)).real


SPECTRA: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "published": without_phase,
    "phased": with_phase_of_the_mean,
}
