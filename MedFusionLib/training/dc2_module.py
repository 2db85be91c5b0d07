"""DC2Fusion under training, one pair of volumes at a time."""

from __future__ import annotations

from torch import Tensor

from MedFusionLib.methods.dc2.network import DC2Fusion
from MedFusionLib.training.balls import BallMaker
from MedFusionLib.training.legible_module import Batch, FuserLoss
from MedFusionLib.training.logged import log_dev_score, logged_total
from MedFusionLib.training.rates import ScheduledTraining
from MedFusionLib.training.volume_augmentation import VolumeAugmentation


class SliceFuser:
    """A network of volumes for what judges slices: (N · depth, 1, H, W), neighbours in order."""

    def __init__(self, network: DC2Fusion, depth: int) -> None:
        self._network, self._depth = network, depth

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        volumes = (
            slices.reshape(-1, 1, self._depth, *slices.shape[-2:]) for slices in (reference, other)
        )
        fused = self._network.uncut(*volumes)
        return fused.reshape(-1, 1, *fused.shape[-2:])

    def cut(self, uncut: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        return self._network.output.cut(uncut, reference, other)


class DC2Training(ScheduledTraining):
    """Train on pairs of volumes (1, 1, D, H, W) in [0, 1], whose sizes may differ."""

    weight_decay = 0.0

    def __init__(
        self,
        network: DC2Fusion,
        loss: FuserLoss,
        augmentation: VolumeAugmentation,
        learning_rate: float,
        rate: str,
        total_steps: int,
    ) -> None:
        super().__init__(learning_rate, rate, total_steps)
        self.network = network
        self.loss = loss
        self.augmentation = augmentation

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        fuser, reference, other = self._in_slices(*self.augmentation(*batch))
        return logged_total(self, self.loss(fuser, reference, other))

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Judge the middle of the volume, as it is: as large as what the network can take."""
        middle = (_middle(volume, self.network.architecture.stride) for volume in batch)
        fuser, reference, other = self._in_slices(*middle)
        log_dev_score(self, fuser, reference, other, batch_index, maker=BallMaker())

    def _in_slices(self, reference: Tensor, other: Tensor) -> tuple[SliceFuser, Tensor, Tensor]:
        """One pair of volumes (1, 1, D, H, W) as slices (D, 1, H, W), and what fuses these."""
        fuser = SliceFuser(self.network, reference.shape[2])
        return fuser, reference[0].movedim(0, 1), other[0].movedim(0, 1)


def _middle(volume: Tensor, stride: int) -> Tensor:
    """At most two strides of slices, of sides that are multiples of the stride."""
    for axis, most in ((2, 2 * stride), (3, volume.shape[3]), (4, volume.shape[4])):
        length = volume.shape[axis]
        kept = min(length, most) // stride * stride
        volume = volume.narrow(axis, (length - kept) // 2, kept)
    return volume
