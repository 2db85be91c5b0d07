"""The training runs of ASFE-Fusion and of AdaFuse, its precursor, to the final weight file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MedFusionLib.methods.adafuse import architecture as adafuse_architecture
from MedFusionLib.methods.adafuse import network as adafuse_network
from MedFusionLib.methods.adafuse import weight_file as adafuse_file
from MedFusionLib.methods.asfe import architecture as asfe_architecture
from MedFusionLib.methods.asfe import network as asfe_network
from MedFusionLib.methods.asfe import weight_file as asfe_file
from MedFusionLib.methods.checkpoints import stored_shapes
from MedFusionLib.training.asfe_losses import LOSSES as FUSED_LOSSES
from MedFusionLib.training.asfe_module import ASFETraining, begin_with_equal_gains
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


@dataclass(frozen=True)
class Family:
    """One of the two networks, whose trainings are alike."""

    method: str
    presets: Mapping[str, Any]
    build: Callable[[Any], Any]
    from_state: Callable[..., Any]
    save: Callable[..., None]


ASFE = Family(
    asfe_file.METHOD,
    asfe_architecture.PRESETS,
    asfe_network.ASFEFusion,
    asfe_file.network_from_state,
    asfe_file.save_network,
)
ADAFUSE = Family(
    adafuse_file.METHOD,
    adafuse_architecture.PRESETS,
    adafuse_network.AdaFuse,
    adafuse_file.network_from_state,
    adafuse_file.save_network,
)


def train_asfe(
    settings: ASFESettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Train and write ``weights.safetensors`` of the best epoch into ``folder``.

    ``resume`` goes on from the folder's last checkpoint. Raises ``InputError`` for an unknown
    preset or loss, for missing data, and for a folder that holds a run unless ``resume`` is set;
    ``WeightsError`` if the weights to begin with do not fit the preset.
    """
    return _train(ASFE, settings, folder, hardware, resume)


def train_adafuse(
    settings: ASFESettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """As :func:`train_asfe`, for AdaFuse."""
    return _train(ADAFUSE, settings, folder, hardware, resume)


def _train(
    family: Family, settings: ASFESettings, folder: Path, hardware: Hardware, resume: bool
) -> Path:
    architecture = chosen("preset", settings.preset, family.presets)
    loss = chosen("loss", settings.loss, LOSSES)(settings)
    begin(settings, folder, resume)
    module = ASFETraining(
        _first_network(family, settings, architecture),
        loss,
        Augmentation(crop=settings.crop),
        settings.learning_rate,
        settings.epochs * settings.steps,
    )
    state = part_of_state(fit(module, settings, folder, hardware, resume, Goal()), "network.")
    trained = {key: state[key] for key in stored_shapes(module.network)}
    family.save(family.from_state(trained, architecture), folder / WEIGHTS_NAME)
    return folder / WEIGHTS_NAME


def _first_network(family: Family, settings: ASFESettings, architecture: Any) -> Any:
    if not settings.start_from:
        return begin_with_equal_gains(family.build(architecture))
    file = read_weight_file(Path(settings.start_from), family.method)
    return family.from_state(file.tensors, architecture).train()
