"""One training run of ASFE-Fusion, from its settings to the final weight file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from MedFusionLib.methods.asfe.architecture import PRESETS, Architecture
from MedFusionLib.methods.asfe.network import ASFEFusion
from MedFusionLib.methods.asfe.weight_file import (
    METHOD,
    network_from_state,
    save_network,
    stored_keys,
)
from MedFusionLib.training.asfe_losses import LOSSES as FUSED_LOSSES
from MedFusionLib.training.asfe_module import ASFETraining, fresh_network
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.emma_losses import equivariant_loss
from MedFusionLib.training.legible_module import FuserLoss
from MedFusionLib.training.runs import (
    WEIGHTS_NAME,
    Goal,
    begin,
    chosen,
    fit,
    part_of_state,
)
from MedFusionLib.training.settings import ASFESettings, Hardware
from MedFusionLib.weights.files import read_weight_file

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
    architecture = chosen("preset", settings.preset, PRESETS)
    loss = chosen("loss", settings.loss, LOSSES)(settings)
    begin(settings, folder, resume)
    module = ASFETraining(
        _first_network(settings, architecture),
        loss,
        Augmentation(crop=settings.crop),
        settings.learning_rate,
        settings.epochs * settings.steps,
    )
    state = part_of_state(fit(module, settings, folder, hardware, resume, Goal()), "network.")
    trained = {key: state[key] for key in stored_keys(module.network)}
    save_network(network_from_state(trained, architecture), folder / WEIGHTS_NAME)
    return folder / WEIGHTS_NAME


def _first_network(settings: ASFESettings, architecture: Architecture) -> ASFEFusion:
    if not settings.start_from:
        return fresh_network(architecture)
    file = read_weight_file(Path(settings.start_from), METHOD)
    return network_from_state(file.tensors, architecture).train()
