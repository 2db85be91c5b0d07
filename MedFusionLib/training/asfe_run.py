"""One training run of ASFE-Fusion: data, trainer, checkpoints, the final weight file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors.torch import save_file
from torch import Tensor

from MedFusionLib.errors import InputError
from MedFusionLib.methods.asfe.architecture import PRESETS
from MedFusionLib.training.asfe_losses import LOSSES
from MedFusionLib.training.asfe_module import ASFETraining, AveragedWeights
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.data import read_pairs, training_loader, validation_loader

SCORE = "dev/score"


@dataclass(frozen=True)
class RunSettings:
    """What a run is made of; all of it is written to ``settings.json`` in the run's folder."""

    data: str
    preset: str = "compact"
    loss: str = "faithful"
    sets: tuple[str, ...] = ()
    """Empty: one network for all sets."""
    seed: int = 0
    epochs: int = 40
    steps: int = 100
    """Optimiser steps per epoch; the dev score is taken after each epoch."""
    batch_size: int = 4
    crop: int = 128
    learning_rate: float = 2e-3
    averaging: float = 0.98
    """Decay of the moving average of the weights per step."""
    patience: int = 15
    """Epochs without a better dev score before the run stops."""
    every_nth_dev_pair: int = 1


@dataclass(frozen=True)
class Hardware:
    """Lightning's own names for where and how a run computes."""

    accelerator: str = "auto"
    devices: str = "auto"
    num_nodes: int = 1
    precision: str = "32-true"


def train(settings: RunSettings, folder: Path, hardware: Hardware, resume: bool) -> Path:
    """Train and write ``weights.safetensors`` of the best checkpoint into ``folder``.

    ``resume`` goes on from the folder's last checkpoint. Raises ``InputError`` for an unknown
    preset or loss, for missing data, and for a folder that holds a run unless ``resume`` is set.
    """
    last = folder / "checkpoints" / "last.ckpt"
    _refuse_wrong_settings(settings, last, resume)
    lightning.seed_everything(settings.seed, workers=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(asdict(settings), indent=2), encoding="utf-8")
    chosen_data = Path(settings.data)
    dev = read_pairs(chosen_data, "dev", settings.sets)[:: settings.every_nth_dev_pair]
    trainer = _trainer(settings, folder, hardware)
    trainer.fit(
        _module(settings),
        training_loader(
            read_pairs(chosen_data, "train", settings.sets),
            settings.batch_size,
            settings.steps,
            settings.seed,
        ),
        validation_loader(dev, settings.batch_size),
        ckpt_path=last if resume else None,
        # A checkpoint is read as tensors and plain values: it cannot run code.
        weights_only=True,
    )
    return export(_best(trainer), settings, folder)


def export(checkpoint: Path, settings: RunSettings, folder: Path) -> Path:
    """Write the network's averaged weights as safetensors, with their architecture."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    config = json.dumps(PRESETS[settings.preset].as_config())
    target = folder / "weights.safetensors"
    save_file(network_state(state), target, metadata={"architecture": config})
    return target


def network_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network's part of a Lightning state dict, without counters of batches."""
    prefix = "network."
    return {
        key.removeprefix(prefix): value.contiguous()
        for key, value in state.items()
        if key.startswith(prefix) and not key.endswith("num_batches_tracked")
    }


def _refuse_wrong_settings(settings: RunSettings, last: Path, resume: bool) -> None:
    for kind, name, known in (
        ("preset", settings.preset, PRESETS),
        ("loss", settings.loss, LOSSES),
    ):
        if name not in known:
            raise InputError(f"There is no {kind} '{name}'. Choose one of: {', '.join(known)}.")
    if resume and not last.is_file():
        raise InputError(f"There is no run to resume in {last.parent.parent}: {last} is missing.")
    if last.is_file() and not resume:
        raise InputError(
            f"{last.parent.parent} holds a run already. Add --resume or choose another folder."
        )


def _module(settings: RunSettings) -> ASFETraining:
    return ASFETraining(
        PRESETS[settings.preset],
        LOSSES[settings.loss],
        Augmentation(crop=settings.crop),
        settings.learning_rate,
    )


def _trainer(settings: RunSettings, folder: Path, hardware: Hardware) -> lightning.Trainer:
    return lightning.Trainer(
        **asdict(hardware),
        max_epochs=settings.epochs,
        logger=TensorBoardLogger(folder, name="", version="log"),
        callbacks=[
            _checkpoints(folder),
            _latest(folder),
            EarlyStopping(SCORE, mode="max", patience=settings.patience),
            AveragedWeights(settings.averaging),
            LearningRateMonitor("epoch"),
        ],
        gradient_clip_val=1.0,
        log_every_n_steps=20,
        num_sanity_val_steps=0,
    )


def _checkpoints(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder / "checkpoints", "best", monitor=SCORE, mode="max")


def _latest(folder: Path) -> ModelCheckpoint:
    """What ``--resume`` goes on from. One that watches a score is renewed only when that rises."""
    return ModelCheckpoint(folder / "checkpoints", "last", enable_version_counter=False)


def _best(trainer: lightning.Trainer) -> Path:
    callback: Any = trainer.checkpoint_callback
    return Path(callback.best_model_path)
