"""Hi-Net's training as a Lightning module: generator and discriminator in turn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from MedFusionLib.methods.hinet.network import HiNet, Synthesis
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.hinet_contrasts import ContrastModel, Sequences
from MedFusionLib.training.hinet_discriminator import Discriminator
from MedFusionLib.training.hinet_losses import discriminator_loss, error_loss, generator_terms
from MedFusionLib.training.logged import logged_total
from MedFusionLib.training.rates import ScheduledTraining

BETAS = (0.5, 0.999)


class HiNetTraining(ScheduledTraining):
    """Train generator and discriminator on batches of tissue maps (``hinet_data.Head.slices``).

    As published, the discriminator learns from the images of the generator before its step.
    """

    def __init__(
        self,
        network: HiNet,
        contrasts: ContrastModel,
        augmentation: Augmentation,
        learning_rate: float,
        rate: str,
        total_steps: int,
    ) -> None:
        super().__init__(learning_rate, rate, total_steps)
        self.automatic_optimization = False
        self.network = network
        self.discriminator = Discriminator()
        for part in (self.network, self.discriminator):
            part.apply(start_weights)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.contrasts = contrasts
        self.augmentation = augmentation

    def training_step(self, batch: Tensor, batch_index: int) -> None:
        first, second, target = to_network(self.contrasts(self.augmentation.cut_out(batch)))
        of_generator, of_discriminator = self.optimizers()  # type: ignore[attr-defined]
        given = self.network(first, second)
        terms = generator_terms(given, self._judged(given), target, first, second)
        if given.error is not None:
            terms["error"] = error_loss(given.error, given.target, target)
        self._step(of_generator, logged_total(self, terms))
        loss = discriminator_loss(
            self.discriminator(target), self.discriminator(given.target.detach())
        )
        self._step(of_discriminator, loss)
        self.log("train/discriminator", loss.detach())
        for curve in self.lr_schedulers():  # type: ignore[union-attr]
            curve.step()

    def _judged(self, given: Synthesis) -> Tensor:
        return self.discriminator(given.target)

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def validation_step(self, batch: Tensor, batch_index: int) -> None:
        """Log ``dev/error``, the mean absolute error in [0, 1], on the same slices every time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(batch_index)
            first, second, target = to_network(self.contrasts(batch))
        given = self.network(first, second)
        error = (given.target - target).abs() / 2
        means = {"dev/error": error.mean()}
        if given.error is not None:
            means["dev/expected"] = given.error.mean() / 2
        self.log_dict(means, batch_size=len(batch), sync_dist=True)

    def configure_optimizers(self):  # type: ignore[no-untyped-def]
        optimizers = [
            torch.optim.Adam(part.parameters(), self.learning_rate, BETAS)
            for part in (self.network, self.discriminator)
        ]
        curves = [
            torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: self.rate(step, self.total_steps)
            )
            for optimizer in optimizers
        ]
        return optimizers, curves


def to_network(sequences: Sequences) -> tuple[Tensor, Tensor, Tensor]:
    """Both inputs and the target in [-1, 1], as the network counts."""
    first, second, target = (2 * image - 1 for image in sequences)
    return first, second, target


def start_weights(module: nn.Module) -> None:
    """The authors' first weights: normal with a deviation of 0.02, gains about 1."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
