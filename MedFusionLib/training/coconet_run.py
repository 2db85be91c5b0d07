"""One training run of CoCoNet, all its stages, from its settings to the final weight file."""

from __future__ import annotations

from pathlib import Path

from MedFusionLib.errors import InputError
from MedFusionLib.methods.coconet.architecture import PRESETS
from MedFusionLib.methods.coconet.weight_file import FILE
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.coconet_losses import LOSSES, NEGATIVES
from MedFusionLib.training.coconet_module import CoCoNetTraining, Stages, fresh_network
from MedFusionLib.training.runs import Goal, begin, chosen, fit
from MedFusionLib.training.settings import CoCoNetSettings, Hardware
from MedFusionLib.training.target_regions import TargetPairDataset
from MedFusionLib.training.trained_networks import first_network, write_trained


def train_coconet(
    settings: CoCoNetSettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Train and write ``weights.safetensors`` of the last stage's best epoch into ``folder``.

    ``resume`` goes on from the folder's last checkpoint. Raises ``InputError`` for an unknown
    preset or loss, for shares or a batch with which a stage cannot be trained, for missing data,
    and for a folder that holds a run unless ``resume`` is set; ``WeightsError`` if the weights to
    begin with do not fit the preset.
    """
    architecture = chosen("preset", settings.preset, PRESETS)
    loss = chosen("loss", settings.loss, LOSSES)
    stages = stages_of(settings)
    begin(settings, folder, resume)
    module = CoCoNetTraining(
        first_network(FILE, settings.start_from, architecture, fresh_network),
        lambda terms: loss(terms, settings.legibility),
        Augmentation(crop=settings.crop),
        settings.learning_rate,
        settings.epochs * settings.steps,
        stages,
    )
    state = fit(module, settings, folder, hardware, resume, Goal(), TargetPairDataset)
    return write_trained(FILE, state, architecture, folder)


def stages_of(settings: CoCoNetSettings) -> Stages:
    """Epochs of each stage; at least one is left for the main one, which learns to fuse.

    Raises ``InputError`` for a contrast without an encoder that was trained for it, or with too few
    pairs in a batch.
    """
    shares = settings.encoder_share, settings.contrast_share
    if min(shares) < 0 or sum(shares) >= 1:
        raise InputError(
            "--encoder-share and --contrast-share are shares of the epochs from 0 on, together "
            f"below 1, not {shares[0]} and {shares[1]}."
        )
    if settings.contrast_share and not settings.encoder_share:
        raise InputError(
            "--contrast-share needs an --encoder-share: the contrast looks through an encoder that "
            "this stage trains. Give both, or neither."
        )
    if settings.contrast_share and settings.batch_size < NEGATIVES:
        raise InputError(
            f"--contrast-share needs a --batch-size of at least {NEGATIVES}, not "
            f"{settings.batch_size}: other pairs are what a slice is held against."
        )
    encoder, contrast = (_epochs(share, settings.epochs) for share in shares)
    main = settings.epochs - encoder - contrast
    if main < 1:
        raise InputError(f"{settings.epochs} epochs are too few for the stages. Add --epochs.")
    return Stages(encoder, main, contrast, encoder_is_given=bool(settings.start_from))


def _epochs(share: float, epochs: int) -> int:
    """A stage with a share has at least one epoch."""
    return max(round(share * epochs), 1) if share else 0
