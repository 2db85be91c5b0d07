"""What every training run shares: its folder, Lightning's trainer, its checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import (
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    WeightAveraging,
)
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from MedFusionLib.errors import InputError
from MedFusionLib.outputs import write_text
from MedFusionLib.training.data import PairDataset, read_pairs, training_loader, validation_loader
from MedFusionLib.training.settings import Hardware, RunSettings

WEIGHTS_NAME = "weights.safetensors"


@dataclass(frozen=True)
class Goal:
    """The logged score that chooses the checkpoint, and whether ``max`` or ``min`` is best."""

    score: str = "dev/score"
    best: str = "max"


def chosen(kind: str, name: str, known: Mapping[str, Any]) -> Any:
    """``known[name]``, or an ``InputError`` that lists the names."""
    if name not in known:
        raise InputError(f"There is no {kind} '{name}'. Choose one of: {', '.join(known)}.")
    return known[name]


def begin(settings: RunSettings, folder: Path, resume: bool) -> None:
    """Seed everything.

    Raises ``InputError`` for a folder that holds a run, unless ``resume`` is set, and for one
    that holds none if it is.
    """
    last = last_checkpoint(folder)
    if resume and not last.is_file():
        raise InputError(f"There is no run to resume in {folder}: {last} is missing.")
    if last.is_file() and not resume:
        raise InputError(f"{folder} holds a run already. Add --resume or choose another folder.")
    if folder.is_file():
        raise InputError(f"'{folder}' is a file. Name a folder for the run.")
    lightning.seed_everything(settings.seed, workers=True)


def fit(
    module: lightning.LightningModule,
    settings: RunSettings,
    folder: Path,
    hardware: Hardware,
    resume: bool,
    goal: Goal,
    dataset: type[PairDataset] = PairDataset,
) -> dict[str, Tensor]:
    """Train on ``train`` pairs; the state dict of the epoch that is best on the ``dev`` pairs.

    ``dataset`` makes what the module's steps get from the pairs.

    The folder is made and ``settings.json`` written once the data are read. The weights are the
    moving average, which also validation and checkpoints use.
    """
    data = Path(settings.data)
    dev = read_pairs(data, "dev", settings.sets)[:: settings.every_nth_dev_pair]
    pairs = read_pairs(data, "train", settings.sets)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "settings.json", json.dumps(asdict(settings), indent=2))
    best = ModelCheckpoint(folder / "checkpoints", "best", monitor=goal.score, mode=goal.best)
    trainer = _trainer(settings, folder, hardware, best, goal)
    trainer.fit(
        module,
        training_loader(dataset(pairs), settings.batch_size, settings.steps, settings.seed),
        validation_loader(dataset(dev), settings.batch_size),
        ckpt_path=last_checkpoint(folder) if resume else None,
        # A checkpoint is read as tensors and plain values: it cannot run code.
        weights_only=True,
    )
    return torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"]


def last_checkpoint(folder: Path) -> Path:
    """What ``--resume`` goes on from."""
    return folder / "checkpoints" / "last.ckpt"


def part_of_state(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {
        key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)
    }


def _trainer(
    settings: RunSettings, folder: Path, hardware: Hardware, best: ModelCheckpoint, goal: Goal
) -> lightning.Trainer:
    # A checkpoint that watches a score is renewed only when that rises: a resumed run would lose
    # epochs. So the last one is kept by a callback of its own.
    last = ModelCheckpoint(folder / "checkpoints", "last", enable_version_counter=False)
    return lightning.Trainer(
        **asdict(hardware),
        max_epochs=settings.epochs,
        logger=TensorBoardLogger(folder, name="", version="log"),
        callbacks=[
            best,
            last,
            EarlyStopping(goal.score, mode=goal.best, patience=settings.patience),
            WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(settings.averaging)),
            LearningRateMonitor("epoch"),
        ],
        gradient_clip_val=1.0,
        log_every_n_steps=20,
        num_sanity_val_steps=0,
    )
