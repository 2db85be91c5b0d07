"""DM-FNet's two stages as Lightning modules: step, validation score, optimiser."""

from __future__ import annotations

import torch
from torch import Tensor

from MedFusionLib.methods.dmfnet.config import DMFNetConfig, initialise
from MedFusionLib.methods.dmfnet.diffusion import CleanImageTarget, Diffusion, make_schedule
from MedFusionLib.methods.dmfnet.fusion_head import FusionHead, FusionLevel
from MedFusionLib.methods.dmfnet.losses import denoising_loss
from MedFusionLib.methods.dmfnet.method import channels_last, noisy_passes, split_passes
from MedFusionLib.methods.dmfnet.noise import Source
from MedFusionLib.methods.dmfnet.unet import NoiseConditionedUNet
from MedFusionLib.methods.weighted_bands import WeightedBands, start_maps
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.dmfnet_denoising import STAGE_ONE_SCHEDULE, denoising_errors
from MedFusionLib.training.legible_module import FuserLoss
from MedFusionLib.training.logged import log_dev_score, logged_total
from MedFusionLib.training.rates import ScheduledTraining

Batch = tuple[Tensor, Tensor]

VALIDATION_STEPS = (20, 200, 1000)
"""Steps of the cosine schedule at which the denoiser is judged: hardly, half and very noisy."""
VALIDATION_SEED = 0


def draw_step(step_count: int) -> int:
    """Draw a time step from 1 to ``step_count``, half of them within the first quarter.

    Drawn evenly, as the paper does, the very noisy steps own the loss, and the almost clean ones,
    whose features the fusion uses, are learned last.
    """
    return 1 + int(step_count * torch.rand(()) ** 2)


class DenoiserTraining(ScheduledTraining):
    """Stage I: the UNet learns to predict the clean slice from a noisy one.

    Batches are (reference, other), (N, 1, H, W) in [0, 1]; both are used as single images.
    """

    def __init__(
        self,
        unet: NoiseConditionedUNet,
        augmentation: Augmentation,
        learning_rate: float,
        rate: str,
        total_steps: int,
    ) -> None:
        super().__init__(learning_rate, rate, total_steps)
        self.unet = unet
        channels_last(self.unet)
        self.augmentation = augmentation
        self.diffusion = Diffusion(
            self.unet, make_schedule(*STAGE_ONE_SCHEDULE), CleanImageTarget()
        )

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        clean = 2 * torch.cat(self.augmentation(*batch)) - 1
        schedule = self.diffusion.schedule
        step = draw_step(schedule.step_count)
        levels = schedule.draw_levels(step, len(clean), torch.default_generator).to(clean)
        prediction, wanted = self.diffusion.training_pair(clean, torch.randn_like(clean), levels)
        loss = denoising_loss(prediction.float(), wanted)
        self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        clean = 2 * torch.cat(batch) - 1
        errors = denoising_errors(self.diffusion, clean, VALIDATION_STEPS, VALIDATION_SEED)
        means = {f"dev/error at step {step}": error.mean() for step, error in errors.items()}
        total = torch.stack(list(means.values())).mean()
        self.log_dict(means | {"dev/error": total}, batch_size=len(clean), sync_dist=True)


class FusionTraining(ScheduledTraining):
    """Stage II: the head learns to fuse the features of a UNet that stays as it is.

    Batches are (reference, other), (N, 1, H, W) in [0, 1].
    """

    def __init__(
        self,
        config: DMFNetConfig,
        unet: NoiseConditionedUNet,
        head: FusionHead,
        loss: FuserLoss,
        augmentation: Augmentation,
        learning_rate: float,
        rate: str,
        total_steps: int,
    ) -> None:
        super().__init__(learning_rate, rate, total_steps)
        self.config = config
        self.schedule = config.build_schedule()
        self.unet = channels_last(unet.requires_grad_(False))
        self.head = channels_last(head)
        self.output = config.build_output()
        self.loss = loss
        self.augmentation = augmentation

    def train(self, mode: bool = True) -> FusionTraining:
        """Set the head's mode; the frozen UNet stays in evaluation mode, without drop-out."""
        super().train(mode)
        self.unet.eval()
        return self

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        """The fused slices before they are cut to the range that can be shown.

        All slices of a batch get the same noise: one with lesions must differ from the same one
        without by the lesions alone, as it does when slices of one place are fused.
        """

        def draw_noise(step: int, source: Source) -> tuple[Tensor, Tensor]:
            noise = torch.randn((1, *reference.shape[1:])).expand(reference.shape)
            level = self.schedule.draw_levels(step, 1, torch.default_generator)
            return noise, level.expand(len(reference), -1)

        time_steps = self.config.time_steps
        noisy, levels = noisy_passes(time_steps, reference, other, draw_noise)
        with torch.no_grad():
            features = self.unet.features(noisy, levels, self.config.feat_scales)
        maps = self.head(*split_passes(features, len(time_steps)))
        return self.output.uncut(maps.float(), reference, other)

    def cut(self, uncut: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        return self.output.cut(uncut, reference, other)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        return logged_total(self, self.loss(self, *self.augmentation(*batch)))

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(VALIDATION_SEED)
            log_dev_score(self, self, *batch, batch_index)


def fresh_unet(config: DMFNetConfig) -> NoiseConditionedUNet:
    """Return an untrained UNet."""
    unet = config.build_unet()
    initialise(unet)
    return unet


def fresh_head(config: DMFNetConfig) -> FusionHead:
    """Return an untrained fusion head, fit for the configuration's output convention."""
    head = config.build_head()
    initialise(head)
    output = config.build_output()
    if isinstance(output, WeightedBands):
        start_maps(head.image_convolution, output)
        _make_small(head)
    return head


def _make_small(head: FusionHead) -> None:
    """Keep the first steps of Adam from throwing the gains far off.

    The head has no normalisation, and its maps are large at first.
    """
    with torch.no_grad():
        head.hidden_convolution.weight *= 0.1
        for module in head.modules():
            if isinstance(module, FusionLevel):
                module.output.spatial.weight *= 0.5
