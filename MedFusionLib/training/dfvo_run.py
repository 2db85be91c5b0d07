"""One training run of DFVO, from its settings to the final weight file."""

from __future__ import annotations

from pathlib import Path

from MedFusionLib.methods.checkpoints import stored_shapes
from MedFusionLib.methods.dfvo.architecture import PRESETS, Architecture
from MedFusionLib.methods.dfvo.network import DFVO
from MedFusionLib.methods.dfvo.weight_file import METHOD, network_from_state, save_network
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.dfvo_module import TRAININGS, fresh_network
from MedFusionLib.training.dfvo_objectives import GOALS, LOSSES
from MedFusionLib.training.rates import RATES
from MedFusionLib.training.runs import WEIGHTS_NAME, begin, chosen, fit, part_of_state
from MedFusionLib.training.settings import DFVOSettings, Hardware
from MedFusionLib.weights.files import read_weight_file


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
        _first_network(settings, architecture),
        loss(settings.legibility, architecture),
        Augmentation(crop=settings.crop),
        settings.learning_rate,
        settings.rate,
        settings.epochs * settings.steps,
    )
    state = part_of_state(
        fit(module, settings, folder, hardware, resume, GOALS[settings.loss]), "network."
    )
    trained = {key: state[key] for key in stored_shapes(module.network)}
    save_network(network_from_state(trained, architecture), folder / WEIGHTS_NAME)
    return folder / WEIGHTS_NAME


def _first_network(settings: DFVOSettings, architecture: Architecture) -> DFVO:
    if not settings.start_from:
        return fresh_network(architecture)
    file = read_weight_file(Path(settings.start_from), METHOD)
    return network_from_state(file.tensors, architecture).train()
