"""TFS-Diff under training: a denoiser learns to draw what another method makes of three sources."""

from __future__ import annotations

from dataclasses import replace

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
from MedFusionLib.training.lesions import LesionMaker, Lesions, fixed_lesions
from MedFusionLib.training.logged import (
    LEGIBILITY_IN_SCORE,
    log_dev_score,
    logged_total,
    mean_transfer,
)
from MedFusionLib.training.rates import ScheduledTraining
from MedFusionLib.training.settings import TFSDiffSettings
from MedFusionLib.training.tfs_diff_losses import denoising_terms, legible_terms
from MedFusionLib.training.third_source import made_skull, made_uptake

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
        self.loss, self.legibility = settings.loss, settings.legibility
        self.lesion_maker = LesionMaker()
        self.schedule = network.architecture.build_schedule()

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        sources = self.changed(*batch)
        present = torch.ones(len(sources), 3, dtype=torch.bool, device=sources.device)
        present[:, 2] = torch.rand(len(sources), device=sources.device) >= self.absent_share
        sources = sources * present[..., None, None]
        wanted = self.wanted(sources, present[:, 2])
        return logged_total(self, self.terms(sources, present, wanted))

    def terms(self, sources: Tensor, present: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """Weighted terms of the loss: sharp sources (N, 3, H, W), wanted images (N, 1, H, W)."""
        if self.loss == "legible":
            return self.legible(sources, present, wanted)
        clean = (2 * wanted - 1).expand(-1, self.network.architecture.colours, -1, -1)
        chosen = self.chosen_for_coarse(len(sources)).to(sources.device)
        seen = torch.where(chosen, coarse(sources), sources)
        return self.denoising(seen, present, clean)

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

    def chosen_for_coarse(self, count: int) -> Tensor:
        """Which sources are coarse, (count, 3, 1, 1): of a share of slices, half or all."""
        slices = torch.rand(count, 1, 1, 1) < self.coarse_share
        wholly = torch.rand(count, 1, 1, 1) < 0.5
        return slices & (wholly | (torch.rand(count, 3, 1, 1) < 0.5))

    def denoising(self, sources: Tensor, present: Tensor, clean: Tensor) -> dict[str, Tensor]:
        """Loss of one noising at a noise level of its own for each slice."""
        diffusion = self.network.diffusion(sources, present)
        levels = torch.cat([self._level() for _ in range(len(clean))]).to(clean)
        noise = torch.randn_like(clean)
        prediction, wanted = diffusion.training_pair(clean, noise, levels)
        noisy = add_noise(clean, noise, levels)
        rebuilt = diffusion.target.clean(prediction, noisy, levels.double())
        return denoising_terms(prediction.float(), wanted, rebuilt.float(), clean, levels)

    def legible(self, sources: Tensor, present: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """Loss of drawings without and with lesions in each of the sources that are there."""
        lesions = present_lesions(self.lesion_maker(*sources.split(1, dim=1)), present)
        both = torch.cat([sources, torch.cat(lesions.sources, dim=1)])
        chosen = self.chosen_for_coarse(len(sources)).to(both.device).repeat(2, 1, 1, 1)
        seen = torch.where(chosen, coarse(both), both)
        drawn = self.on_the_way(seen, present.repeat(2, 1))
        fused, fused_with = self.network.output.shown(drawn, seen).chunk(2)
        uncut = (drawn[: len(sources)] + 1) / 2
        change = fused_with - fused
        return legible_terms(uncut, fused, change, sources, lesions, wanted, self.legibility)

    def on_the_way(self, sources: Tensor, present: Tensor) -> Tensor:
        """What the network says of the clean image when its first idea of it is noised again.

        Without and with lesions, the noise and its level are the same. A drawing meets the
        network's own images, so it learns from these; uncut, (2 N, 1, H, W) around [-1, 1].
        """
        diffusion = self.network.diffusion(sources, present)
        noise = torch.randn_like(sources[: len(sources) // 2, :1]).repeat(2, 1, 1, 1)
        levels = torch.cat([self._level() for _ in range(len(sources) // 2)]).repeat(2, 1).to(noise)
        purest = torch.tensor([[self.schedule.levels[-1]]], dtype=torch.float64)
        with torch.no_grad():
            first = diffusion.predict_clean(noise, purest)
        return diffusion.denoiser(add_noise(first, noise, levels), levels).float()

    def _level(self) -> Tensor:
        step = int(torch.randint(1, self.schedule.step_count + 1, ()))
        return self.schedule.draw_levels(step, 1, torch.default_generator)

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        """Drawings of two sources in few steps, all from the same noise; the third is not there."""
        sources = torch.cat([reference, other, torch.zeros_like(other)], dim=1)
        present = torch.tensor([[True, True, False]], device=other.device).expand(len(other), -1)
        return self.drawn(sources, present)

    def drawn(self, sources: Tensor, present: Tensor) -> Tensor:
        """Drawings in few steps, all from the same noise."""
        generator = torch.Generator().manual_seed(VALIDATION_SEED)
        size = (1, self.network.architecture.colours, *sources.shape[-2:])
        noise = torch.randn(size, generator=generator).to(sources).expand(len(sources), -1, -1, -1)
        diffusion = self.network.diffusion(sources, present)
        *_, drawn = diffusion.ddim_steps(noise, VALIDATION_STEPS)
        return self.network.output.shown(drawn, sources)

    def cut(self, uncut: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        return uncut

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        of_two = log_dev_score(self, self, *batch[:2], batch_index)
        of_three = self.transfer_of_three(*batch[:2], batch_index)
        scores = {"dev/three": of_three, "dev/both": of_two + LEGIBILITY_IN_SCORE * of_three}
        self.log_dict(scores, batch_size=len(batch[0]), sync_dist=True)

    def transfer_of_three(self, reference: Tensor, other: Tensor, seed: int) -> Tensor:
        """Mean transfer of lesions in three sources, the third made up; the same in every epoch."""
        with torch.random.fork_rng(devices=[] if other.device.type == "cpu" else None):
            torch.manual_seed(seed)
            third = (made_uptake, made_skull)[seed % 2](reference)
        sources = reference, other, third
        lesions = fixed_lesions(*sources, seed=seed)
        present = torch.ones(len(other), 3, dtype=torch.bool, device=other.device)
        before, after = (
            self.drawn(torch.cat(one, dim=1), present) for one in (sources, lesions.sources)
        )
        return mean_transfer(lesions, after - before, *sources).mean()


def coarse(images: Tensor) -> Tensor:
    """Images (N, C, H, W) as if taken at half the resolution: the paper's super-resolution."""
    small = F.interpolate(images, scale_factor=0.5, mode="bicubic", antialias=True)
    return F.interpolate(small, scale_factor=2, mode="bicubic").clamp(0, 1)


def present_lesions(lesions: Lesions, present: Tensor) -> Lesions:
    """The lesions of sources that are there, (N, 3); what is not there stays black."""
    sources = torch.cat(lesions.sources, dim=1) * present[..., None, None]
    there = present.gather(1, lesions.place)
    return replace(
        lesions,
        sources=sources.split(1, dim=1),
        profiles=lesions.profiles * there[..., None, None],
        counted=lesions.counted * there,
    )


def fresh_network(architecture: Architecture) -> TFSDiff:
    """An untrained network, begun as the authors do; one that weighs bands shows all detail."""
    network = TFSDiff(architecture)
    initialise(network)
    if isinstance(network.output, WeightedBands):
        start_maps(network.unet.output_convolution, network.output)
    return network
