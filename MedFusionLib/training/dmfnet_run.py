"""Training runs of DM-FNet: data, trainer, checkpoints and weight files of both stages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from MedFusionLib.errors import InputError
from MedFusionLib.methods.dmfnet.config import PRESETS, DMFNetConfig
from MedFusionLib.methods.dmfnet.fusion_head import FusionHead
from MedFusionLib.methods.dmfnet.unet import NoiseConditionedUNet
from MedFusionLib.methods.dmfnet.weights_file import (
    read_unet,
    read_weights,
    write_unet,
    write_weights,
)
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.dmfnet_losses import LOSSES
from MedFusionLib.training.dmfnet_modules import (
    DenoiserTraining,
    FusionTraining,
    fresh_head,
    fresh_unet,
)
from MedFusionLib.training.rates import RATES
from MedFusionLib.training.runs import (
    WEIGHTS_NAME,
    Goal,
    begin,
    chosen,
    fit,
)
from MedFusionLib.training.settings import FusionSettings, Hardware, StageSettings


def train_denoiser(
    settings: StageSettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Stage I: train the UNet; writes it to ``weights.safetensors`` in ``folder``.

    Raises:
        InputError: for an unknown preset or learning rate curve, for missing data, and for a
            folder that holds a run, unless ``resume`` is set.
    """
    config = chosen("preset", settings.preset, PRESETS)
    chosen("learning rate curve", settings.rate, RATES)
    begin(settings, folder, resume)
    module = DenoiserTraining(
        _first_unet(settings, config),
        Augmentation(crop=settings.crop),
        settings.learning_rate,
        settings.rate,
        settings.epochs * settings.steps,
    )
    goal = Goal("dev/error", "min")
    module.load_state_dict(fit(module, settings, folder, hardware, resume, goal))
    write_unet(folder / WEIGHTS_NAME, module.unet, config)
    return folder / WEIGHTS_NAME


def train_fusion(
    settings: FusionSettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Stage II: train the head on a frozen UNet; writes both to ``weights.safetensors``.

    Raises:
        InputError: as ``train_denoiser``, and for an unknown loss.
        WeightsError: if the UNet's file cannot be used.
    """
    loss = chosen("loss", settings.loss, LOSSES)
    unet, stored = read_unet(Path(settings.unet))
    config = chosen("preset", settings.preset, PRESETS)
    _refuse_other_unet(stored, config)
    chosen("learning rate curve", settings.rate, RATES)
    begin(settings, folder, resume)
    module = FusionTraining(
        config,
        unet,
        _first_head(settings, config),
        loss(settings.legibility),
        Augmentation(crop=settings.crop),
        settings.learning_rate,
        settings.rate,
        settings.epochs * settings.steps,
    )
    module.load_state_dict(fit(module, settings, folder, hardware, resume, Goal()))
    write_weights(folder / WEIGHTS_NAME, module.unet, module.head, config)
    return folder / WEIGHTS_NAME


def _first_unet(settings: StageSettings, config: DMFNetConfig) -> NoiseConditionedUNet:
    """Return the UNet that a run of stage I begins with."""
    if not settings.start_from:
        return fresh_unet(config)
    unet, stored = read_unet(Path(settings.start_from))
    _refuse_other_unet(stored, config)
    return unet


def _first_head(settings: FusionSettings, config: DMFNetConfig) -> FusionHead:
    """Return the fusion head that a run of stage II begins with."""
    if not settings.start_from:
        return fresh_head(config)
    networks = read_weights(Path(settings.start_from))
    if networks.config != config:
        raise InputError(f"{settings.start_from} was trained with another preset.")
    return networks.head


def _refuse_other_unet(stored: DMFNetConfig, config: DMFNetConfig) -> None:
    """The fusion head may differ between the file's configuration and the preset's, not more."""
    head_only = {
        name: getattr(config, name)
        for name in ("feat_scales", "time_steps", "schedule", "n_timestep", "output")
    }
    if replace(stored, **head_only) != config:
        raise InputError("The UNet's file was trained with another preset than the one asked for.")
