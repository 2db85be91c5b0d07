"""One training run of DFVO, from its settings to the final weight file."""

from __future__ import annotations

from pathlib import Path

from MedFusionLib.methods.dfvo.architecture import PRESETS
from MedFusionLib.methods.dfvo.weight_file import FILE
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.dfvo_module import TRAININGS, fresh_network
from MedFusionLib.training.dfvo_objectives import GOALS, LOSSES
from MedFusionLib.training.rates import RATES
from MedFusionLib.training.runs import begin, chosen, fit
from MedFusionLib.training.settings import DFVOSettings, Hardware
from MedFusionLib.training.trained_networks import first_network, write_trained


def train_dfvo(
    settings: DFVOSettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Train and write ``weights.safetensors`` of the best epoch into ``folder``.

    ``resume`` goes on from the folder's last checkpoint. Raises ``InputError`` for an unknown
    preset, loss or learning rate curve, for a loss that does not fit the preset, for missing data,
    and for a folder that holds a run unless ``resume`` is set; ``WeightsError`` if the weights to
    begin with do not fit the preset.
    """
    architecture = chosen("preset", settings.preset, PRESETS)
    loss = chosen("loss", settings.loss, LOSSES)
    chosen("learning rate curve", settings.rate, RATES)
    begin(settings, folder, resume)
    module = TRAININGS[settings.loss](
        first_network(FILE, settings.start_from, architecture, fresh_network),
        loss(settings.legibility, architecture),
        Augmentation(crop=settings.crop),
        settings.learning_rate,
        settings.rate,
        settings.epochs * settings.steps,
    )
    state = fit(module, settings, folder, hardware, resume, GOALS[settings.loss])
    return write_trained(FILE, state, architecture, folder)
