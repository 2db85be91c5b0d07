"""DDFM behind the interface that every fusion method has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from MedFusionLib.methods.ddfm.expectation_maximisation import ExpectationMaximisation
from MedFusionLib.methods.ddfm.sampling import (
    SCHEDULE_STEPS,
    draw_images,
    full_schedule,
    spaced_levels,
)
from MedFusionLib.methods.dmfnet.config import DMFNetConfig
from MedFusionLib.methods.dmfnet.diffusion import CleanImageTarget, Diffusion
from MedFusionLib.methods.dmfnet.method import channels_last
from MedFusionLib.methods.dmfnet.noise import Source, noise_generator
from MedFusionLib.methods.dmfnet.unet import NoiseConditionedUNet
from MedFusionLib.methods.dmfnet.weights_file import METHOD as PRIOR
from MedFusionLib.methods.dmfnet.weights_file import read_shipped, read_unet
from MedFusionLib.weights.files import read_weight_file

STEPS = 10


class DDFM:
    """Fuses slices by drawing them from noise with a denoiser, led by both sources.

    Args:
        unet: the denoiser, which predicts the clean slice.
        config: what it was built from.
        weights_sha256: digest of its file.
        device: where it runs.
        steps: of each drawing; at least 1.
        seed: of the noise; not negative.
        draws: how many drawings are averaged; at least 1.
    """

    name = "ddfm"

    def __init__(
        self,
        unet: NoiseConditionedUNet,
        config: DMFNetConfig,
        weights_sha256: str,
        device: torch.device,
        steps: int = STEPS,
        seed: int = 0,
        draws: int = 1,
    ) -> None:
        if seed < 0 or draws < 1:
            raise ValueError(
                f"DDFM needs a seed of at least 0 and at least one drawing, "
                f"not seed {seed} and {draws} draws."
            )
        self.stride = config.stride
        self.weights_sha256 = weights_sha256
        self.steps, self.seed, self.draws = steps, seed, draws
        schedule = full_schedule()
        self._levels = spaced_levels(schedule, steps)
        network = channels_last(unet.eval().requires_grad_(False).to(device))
        self._diffusion = Diffusion(network, schedule, CleanImageTarget())

    @torch.inference_mode()
    def fuse(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> Tensor:
        """Return the fused slices (N, 1, H, W) in [0, 1], the mean over the drawings.

        Args:
            reference: anatomical slices (N, 1, H, W) in [0, 1], H and W multiples of ``stride``.
            other: slices of the second image, alike.
            slice_indices: not needed; all slices of a volume begin with the same noise.
        """
        return torch.stack(list(self._drawings(reference, other))).mean(dim=0)

    @torch.inference_mode()
    def fuse_with_uncertainty(
        self, reference: Tensor, other: Tensor, slice_indices: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the mean and the standard deviation over the drawings, both like ``fuse``.

        Raises:
            ValueError: if the method was created with a single draw.
        """
        if self.draws < 2:
            raise ValueError("The uncertainty needs at least two drawings: set draws=2 or more.")
        fused = torch.stack(list(self._drawings(reference, other)))
        return fused.mean(dim=0), fused.std(dim=0)

    def _drawings(self, reference: Tensor, other: Tensor) -> Iterator[Tensor]:
        # One slice fills a CPU, and has the same bits then in whatever batch it came.
        size = 1 if reference.device.type == "cpu" else len(reference)
        parts = list(zip(reference.split(size), other.split(size), strict=True))
        for draw in range(self.draws):
            yield torch.cat([self._draw_once(*part, draw) for part in parts])

    def _draw_once(self, reference: Tensor, other: Tensor, draw: int) -> Tensor:
        leading = ExpectationMaximisation(2 * reference - 1, 2 * other - 1)
        noise = self._noise(reference, draw)
        drawn = draw_images(self._diffusion, self._levels, noise, leading.fuse)
        return ((drawn + 1) / 2).clamp(0, 1) * (torch.maximum(reference, other) > 0)

    def _noise(self, image: Tensor, draw: int) -> Tensor:
        """The noise that a drawing begins with, the same for every slice: like ``image``."""
        generator = noise_generator(self.seed, 0, SCHEDULE_STEPS, Source.REFERENCE, draw)
        noise = torch.randn((1, 1, *image.shape[-2:]), generator=generator)
        return noise.to(image).expand(len(image), -1, -1, -1)


def create(
    device: torch.device,
    weights: str | Path | None = None,
    steps: int = STEPS,
    seed: int = 0,
    draws: int = 1,
) -> DDFM:
    """The method with the denoiser that is shipped for DM-FNet, or with that of another file.

    Args:
        device: where the denoiser runs.
        weights: a file of DM-FNet, with or without its fusion head.
        steps: of each drawing, 1 to 1000.
        seed: of the noise; the same seed gives the same result.
        draws: number of drawings to average.

    Raises:
        WeightsError: if the file is missing, damaged or fits no DM-FNet.
        ValueError: for a negative seed, fewer than one draw, or an impossible number of steps.
    """
    if weights is None:
        networks = read_shipped()
        unet, config, sha256 = networks.unet, networks.config, networks.sha256
    else:
        unet, config = read_unet(Path(weights))
        sha256 = read_weight_file(Path(weights), PRIOR).sha256
    return DDFM(unet, config, sha256, device, steps, seed, draws)
