"""TFS-Diff under training: a denoiser learns to draw what another method makes of three sources."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from MedFusionLib.computing.slice_fusion import MultiFusionMethod
from MedFusionLib.methods.dmfnet.config import initialise
from MedFusionLib.methods.dmfnet.diffusion import add_noise
from MedFusionLib.methods.dmfnet.method import channels_last
from MedFusionLib.methods.tfs_diff.architecture import Architecture
from MedFusionLib.methods.tfs_diff.network import TFSDiff
from MedFusionLib.methods.weighted_bands import WeightedBands, start_maps
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.logged import log_dev_score, logged_total
from MedFusionLib.training.rates import ScheduledTraining
from MedFusionLib.training.settings import TFSDiffSettings
from MedFusionLib.training.tfs_diff_losses import denoising_terms

Batch = tuple[Tensor, Tensor, Tensor]
VALIDATION_STEPS = 4
"""Of the drawings of ``dev`` slices: whole ones would take as long as the training."""
VALIDATION_SEED = 0


class TFSDiffTraining(ScheduledTraining):
    """Train on batches of (reference, other, third), (N, 1, H, W) in [0, 1] each.

    ``teacher`` makes the wanted images, at full resolution, of the sources that are there. What is
    there and how sharp it is, and the order of the others, are drawn anew for each slice.
    """

    weight_decay = 0.0

    def __init__(
        self,
        network: TFSDiff,
        teacher: MultiFusionMethod,
        augmentation: Augmentation,
        settings: TFSDiffSettings,
    ) -> None:
        super().__init__(settings.learning_rate, settings.rate, settings.epochs * settings.steps)
        self.network = channels_last(network)
        self._teacher = [teacher]  # in a list: it is no part of what is trained and kept
        self.augmentation = augmentation
        self.absent_share, self.coarse_share = settings.absent_share, settings.coarse_share
        self.schedule = network.architecture.build_schedule()

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        sources = self.changed(*batch)
        absent = torch.rand(len(sources)) < self.absent_share
        present = torch.ones(len(sources), 3, dtype=torch.bool)
        present[:, 2] = ~absent
        present = present.to(sources.device)
        sources = sources * present[..., None, None]
        clean = 2 * self.wanted(sources, present[:, 2]) - 1
        clean = clean.expand(-1, self.network.architecture.colours, -1, -1)
        return logged_total(self, self.terms(self.coarse(sources), present, clean))

    def changed(self, reference: Tensor, other: Tensor, third: Tensor) -> Tensor:
        """Squares of the sources, the others in any order: (N, 3, crop, crop)."""
        others = torch.cat([other, third], dim=1)
        swapped = torch.rand(len(others), 1, 1, 1, device=others.device) < 0.5
        others = torch.where(swapped, others.flip(1), others)
        reference, others = self.augmentation.moved(reference, others)
        parts = (reference, *others.split(1, dim=1))
        return torch.cat([self.augmentation.intensity(part) for part in parts], dim=1)

    @torch.no_grad()
    def wanted(self, sources: Tensor, all_present: Tensor) -> Tensor:
        """What the teacher makes of each slice's sources, (N, 1, H, W) in [0, 1]."""
        wanted = torch.empty_like(sources[:, :1])
        for chosen, fused in ((all_present, self._of_three), (~all_present, self._of_two)):
            if chosen.any():
                # A method takes slices of its own device, the CPU, and gives tensors of inference.
                parts = sources[chosen].cpu().split(1, dim=1)
                wanted[chosen] = fused(*parts).clone().to(wanted)
        return wanted

    def _of_three(self, reference: Tensor, other: Tensor, third: Tensor) -> Tensor:
        return self._teacher[0].fuse_many(reference, (other, third))

    def _of_two(self, reference: Tensor, other: Tensor, third: Tensor) -> Tensor:
        return self._teacher[0].fuse(reference, other)

    def coarse(self, sources: Tensor) -> Tensor:
        """Some of the slices as if taken at half the resolution: the paper's super-resolution."""
        chosen = torch.rand(len(sources), 1, 1, 1, device=sources.device) < self.coarse_share
        small = F.interpolate(sources, scale_factor=0.5, mode="bicubic", antialias=True)
        coarse = F.interpolate(small, scale_factor=2, mode="bicubic").clamp(0, 1)
        return torch.where(chosen, coarse, sources)

    def terms(self, sources: Tensor, present: Tensor, clean: Tensor) -> dict[str, Tensor]:
        """Loss of one noising at a noise level of its own for each slice."""
        diffusion = self.network.diffusion(sources, present)
        levels = torch.cat([self._level() for _ in range(len(clean))]).to(clean)
        noise = torch.randn_like(clean)
        prediction, wanted = diffusion.training_pair(clean, noise, levels)
        noisy = add_noise(clean, noise, levels)
        rebuilt = diffusion.target.clean(prediction, noisy, levels.double())
        return denoising_terms(prediction.float(), wanted, rebuilt.float(), clean, levels)

    def _level(self) -> Tensor:
        step = int(torch.randint(1, self.schedule.step_count + 1, ()))
        return self.schedule.draw_levels(step, 1, torch.default_generator)

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        """Drawings of two sources in few steps, all from the same noise; the third is not there."""
        sources = torch.cat([reference, other, torch.zeros_like(other)], dim=1)
        present = torch.tensor([[True, True, False]], device=other.device).expand(len(other), -1)
        generator = torch.Generator().manual_seed(VALIDATION_SEED)
        size = (1, self.network.architecture.colours, *other.shape[-2:])
        noise = torch.randn(size, generator=generator).to(other).expand(len(other), -1, -1, -1)
        diffusion = self.network.diffusion(sources, present)
        *_, drawn = diffusion.ddim_steps(noise, VALIDATION_STEPS)
        return self.network.output.shown(drawn, sources)

    def cut(self, uncut: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        return uncut

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        log_dev_score(self, self, *batch[:2], batch_index)


def fresh_network(architecture: Architecture) -> TFSDiff:
    """An untrained network, begun as the authors do; one that weighs bands shows all detail."""
    network = TFSDiff(architecture)
    initialise(network)
    if isinstance(network.output, WeightedBands):
        start_maps(network.unet.output_convolution, network.output)
    return network
