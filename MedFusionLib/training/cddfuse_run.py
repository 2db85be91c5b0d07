"""One training run of CDDFuse, both phases, from its settings to the final weight file."""

from __future__ import annotations

from pathlib import Path

from MedFusionLib.methods.cddfuse.architecture import PRESETS
from MedFusionLib.methods.cddfuse.network import CDDFuse
from MedFusionLib.methods.cddfuse.weight_file import FILE
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.cddfuse_losses import LOSSES
from MedFusionLib.training.cddfuse_module import CDDFuseTraining
from MedFusionLib.training.rates import RATES
from MedFusionLib.training.runs import Goal, begin, chosen, fit
from MedFusionLib.training.settings import CDDFuseSettings, Hardware
from MedFusionLib.training.trained_networks import first_network, write_trained


def train_cddfuse(
    settings: CDDFuseSettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Train and write ``weights.safetensors`` of the best epoch of phase II into ``folder``.

    ``resume`` goes on from the folder's last checkpoint. Raises ``InputError`` for an unknown
    preset, loss or learning rate curve, for an impossible share of the phases, for missing data,
    and for a folder that holds a run unless ``resume`` is set; ``WeightsError`` if the weights to
    begin with do not fit the preset.
    """
    architecture = chosen("preset", settings.preset, PRESETS)
    loss = chosen("loss", settings.loss, LOSSES)
    chosen("learning rate curve", settings.rate, RATES)
    begin(settings, folder, resume)
    module = CDDFuseTraining(
        first_network(FILE, settings.start_from, architecture, CDDFuse),
        loss(settings.legibility),
        Augmentation(crop=settings.crop),
        settings,
    )
    state = fit(module, settings, folder, hardware, resume, Goal())
    return write_trained(FILE, state, architecture, folder)
