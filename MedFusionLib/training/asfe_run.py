"""The training runs of ASFE-Fusion and of AdaFuse, its precursor, to the final weight file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from MedFusionLib.methods.adafuse import architecture as adafuse_architecture
from MedFusionLib.methods.adafuse import weight_file as adafuse_file
from MedFusionLib.methods.asfe import architecture as asfe_architecture
from MedFusionLib.methods.asfe import weight_file as asfe_file
from MedFusionLib.methods.network_files import NetworkFile
from MedFusionLib.training.asfe_losses import LOSSES as FUSED_LOSSES
from MedFusionLib.training.asfe_module import ASFETraining, begin_with_equal_gains
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.emma_losses import equivariant_loss
from MedFusionLib.training.legible_module import FuserLoss
from MedFusionLib.training.runs import (
    Goal,
    begin,
    chosen,
    fit,
)
from MedFusionLib.training.settings import ASFESettings, Hardware
from MedFusionLib.training.trained_networks import first_network, write_trained

LOSSES: dict[str, Callable[[ASFESettings], FuserLoss]] = {
    "legible": lambda settings: FUSED_LOSSES["legible"](settings.legibility),
    "paper": lambda settings: FUSED_LOSSES["paper"](settings.legibility),
    "equivariant": lambda settings: equivariant_loss(settings.sensing),
}


def train_asfe(
    settings: ASFESettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Train and write ``weights.safetensors`` of the best epoch into ``folder``.

    ``resume`` goes on from the folder's last checkpoint. Raises ``InputError`` for an unknown
    preset or loss, for missing data, and for a folder that holds a run unless ``resume`` is set;
    ``WeightsError`` if the weights to begin with do not fit the preset.
    """
    return _train(asfe_file.FILE, asfe_architecture.PRESETS, settings, folder, hardware, resume)


def train_adafuse(
    settings: ASFESettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """As :func:`train_asfe`, for AdaFuse."""
    return _train(
        adafuse_file.FILE, adafuse_architecture.PRESETS, settings, folder, hardware, resume
    )


def _train(
    file: NetworkFile[Any],
    presets: Mapping[str, Any],
    settings: ASFESettings,
    folder: Path,
    hardware: Hardware,
    resume: bool,
) -> Path:
    architecture = chosen("preset", settings.preset, presets)
    loss = chosen("loss", settings.loss, LOSSES)(settings)
    begin(settings, folder, resume)

    def fresh(architecture: Any) -> Any:
        return begin_with_equal_gains(file.build(architecture))

    module = ASFETraining(
        first_network(file, settings.start_from, architecture, fresh),
        loss,
        Augmentation(crop=settings.crop),
        settings.learning_rate,
        settings.epochs * settings.steps,
    )
    state = fit(module, settings, folder, hardware, resume, Goal())
    return write_trained(file, state, architecture, folder)
