"""Training runs of DM-FNet: data, trainer, checkpoints and weight files of both stages."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

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
from MedFusionLib.training.asfe_module import AveragedWeights
from MedFusionLib.training.asfe_run import Hardware
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.data import read_pairs, training_loader, validation_loader
from MedFusionLib.training.dmfnet_losses import LOSSES
from MedFusionLib.training.dmfnet_modules import (
    RATES,
    DenoiserTraining,
    FusionTraining,
    StageTraining,
    fresh_head,
    fresh_unet,
)

WEIGHTS_NAME = "weights.safetensors"


@dataclass(frozen=True)
class StageSettings:
    """What a run of either stage is made of; written to ``settings.json`` in its folder."""

    data: str
    preset: str = "compact"
    seed: int = 0
    epochs: int = 40
    steps: int = 100
    """Optimiser steps per epoch; the dev score is taken after each epoch."""
    batch_size: int = 8
    """Pairs per step."""
    crop: int = 96
    learning_rate: float = 1e-3
    rate: str = "cosine"
    averaging: float = 0.995
    """Decay of the moving average of the weights per step."""
    every_nth_dev_pair: int = 1
    start_from: str = ""
    """Weight file whose networks the run begins with; empty: random ones."""


@dataclass(frozen=True)
class FusionSettings(StageSettings):
    """Additionally for stage II: the frozen UNet's file and the loss."""

    unet: str = ""
    loss: str = "faithful"


def train_denoiser(
    settings: StageSettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Stage I: train the UNet; writes it to ``weights.safetensors`` in ``folder``.

    Raises:
        InputError: for an unknown preset or learning rate curve, for missing data, and for a
            folder that holds a run, unless ``resume`` is set.
    """
    config = _chosen("preset", settings.preset, PRESETS)
    _start(settings, folder, resume)
    module = DenoiserTraining(
        _first_unet(settings, config),
        Augmentation(crop=settings.crop),
        settings.learning_rate,
        settings.rate,
        settings.epochs * settings.steps,
    )
    checkpoint = _fit(module, settings, folder, hardware, resume, "dev/error", "min")
    _restore(module, checkpoint)
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
    loss = _chosen("loss", settings.loss, LOSSES)
    unet, stored = read_unet(Path(settings.unet))
    config = _chosen("preset", settings.preset, PRESETS)
    _refuse_other_unet(stored, config)
    _start(settings, folder, resume)
    module = FusionTraining(
        config,
        unet,
        _first_head(settings, config),
        loss,
        Augmentation(crop=settings.crop),
        settings.learning_rate,
        settings.rate,
        settings.epochs * settings.steps,
    )
    checkpoint = _fit(module, settings, folder, hardware, resume, "dev/score", "max")
    _restore(module, checkpoint)
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


def _chosen(kind: str, name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        raise InputError(f"There is no {kind} '{name}'. Choose one of: {', '.join(known)}.")
    return known[name]


def _refuse_other_unet(stored: DMFNetConfig, config: DMFNetConfig) -> None:
    """The fusion head may differ between the file's configuration and the preset's, not more."""
    head_only = {
        name: getattr(config, name)
        for name in ("feat_scales", "time_steps", "schedule", "n_timestep", "output")
    }
    if replace(stored, **head_only) != config:
        raise InputError("The UNet's file was trained with another preset than the one asked for.")


def _start(settings: StageSettings, folder: Path, resume: bool) -> None:
    _chosen("learning rate curve", settings.rate, RATES)
    last = _last_checkpoint(folder)
    if resume and not last.is_file():
        raise InputError(f"There is no run to resume in {folder}: {last} is missing.")
    if last.is_file() and not resume:
        raise InputError(f"{folder} holds a run already. Add --resume or choose another folder.")
    lightning.seed_everything(settings.seed, workers=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(asdict(settings), indent=2), encoding="utf-8")


def _last_checkpoint(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"


def _fit(
    module: StageTraining,
    settings: StageSettings,
    folder: Path,
    hardware: Hardware,
    resume: bool,
    score: str,
    better: str,
) -> Path:
    """Train and return the checkpoint with the best dev score; it holds averaged weights."""
    pairs = read_pairs(Path(settings.data), "train")
    dev = read_pairs(Path(settings.data), "dev")[:: settings.every_nth_dev_pair]
    best = ModelCheckpoint(folder / "checkpoints", "best", monitor=score, mode=better)
    # Lightning's own "last" is a copy of the last best one: a resumed run would lose epochs.
    last = ModelCheckpoint(folder / "checkpoints", "last", enable_version_counter=False)
    trainer = lightning.Trainer(
        **asdict(hardware),
        max_epochs=settings.epochs,
        logger=TensorBoardLogger(folder, name="", version="log"),
        callbacks=[best, last, AveragedWeights(settings.averaging), LearningRateMonitor("epoch")],
        gradient_clip_val=1.0,
        log_every_n_steps=20,
        num_sanity_val_steps=0,
    )
    trainer.fit(
        module,
        training_loader(pairs, settings.batch_size, settings.steps, settings.seed),
        validation_loader(dev, settings.batch_size),
        ckpt_path=_last_checkpoint(folder) if resume else None,
        # A checkpoint is read as tensors and plain values: it cannot run code.
        weights_only=True,
    )
    return Path(best.best_model_path)


def _restore(module: StageTraining, checkpoint: Path) -> None:
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    module.load_state_dict(state)
