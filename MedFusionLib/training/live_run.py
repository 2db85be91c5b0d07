"""One training run of the live method, from its settings to the weight file."""

from __future__ import annotations

from pathlib import Path

from MedFusionLib.errors import InputError
from MedFusionLib.methods import create_method, method_card
from MedFusionLib.methods.live.method import METHOD, save_network
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.live_module import LiveTraining, fresh_network
from MedFusionLib.training.runs import WEIGHTS_NAME, Goal, begin, fit, part_of_state
from MedFusionLib.training.settings import Hardware, LiveSettings


def train_live(
    settings: LiveSettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Train and write ``weights.safetensors`` of the best epoch into ``folder``.

    ``resume`` goes on from the folder's last checkpoint. Raises ``InputError`` for a teacher that
    has learned nothing, for missing data, and for a folder that holds a run unless ``resume`` is
    set.
    """
    if settings.teacher == METHOD or method_card(settings.teacher).kind != "learned":
        raise InputError(f"'{settings.teacher}' cannot teach. Choose another learned method.")
    begin(settings, folder, resume)
    module = LiveTraining(
        fresh_network(),
        create_method(settings.teacher).fuse,
        Augmentation(crop=settings.crop),
        settings.learning_rate,
        settings.epochs * settings.steps,
    )
    state = fit(module, settings, folder, hardware, resume, Goal())
    module.network.load_state_dict(part_of_state(state, "network."))
    save_network(module.network, folder / WEIGHTS_NAME)
    return folder / WEIGHTS_NAME
