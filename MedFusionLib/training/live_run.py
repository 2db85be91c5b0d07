"""One training run of the live method, from its settings to the weight file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from MedFusionLib.methods.live.method import METHOD, network_from_state, save_network
from MedFusionLib.methods.live.network import LiveFusion
from MedFusionLib.training.asfe_losses import FaithfulLoss
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.emma_losses import equivariant_loss
from MedFusionLib.training.legibility import LegibleLoss
from MedFusionLib.training.legible_module import FuserLoss
from MedFusionLib.training.live_module import LiveTraining, fresh_network
from MedFusionLib.training.runs import WEIGHTS_NAME, Goal, begin, chosen, fit, part_of_state
from MedFusionLib.training.settings import Hardware, LiveSettings
from MedFusionLib.weights.files import read_weight_file

LOSSES: dict[str, Callable[[LiveSettings], FuserLoss]] = {
    "legible": lambda settings: LegibleLoss(FaithfulLoss(), settings.legibility),
    "equivariant": lambda settings: equivariant_loss(settings.sensing),
}


def train_live(
    settings: LiveSettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Train and write ``weights.safetensors`` of the best epoch into ``folder``.

    ``resume`` goes on from the folder's last checkpoint. Raises ``InputError`` for an unknown
    loss, for missing data, and for a folder that holds a run unless ``resume`` is set;
    ``WeightsError`` if the weights to begin with are not the live method's.
    """
    loss = chosen("loss", settings.loss, LOSSES)(settings)
    network = _first_network(settings)
    begin(settings, folder, resume)
    module = LiveTraining(
        network or fresh_network(),
        loss,
        Augmentation(crop=settings.crop),
        settings.learning_rate,
        settings.epochs * settings.steps,
    )
    state = fit(module, settings, folder, hardware, resume, Goal())
    module.network.load_state_dict(part_of_state(state, "network."))
    save_network(module.network, folder / WEIGHTS_NAME)
    return folder / WEIGHTS_NAME


def _first_network(settings: LiveSettings) -> LiveFusion | None:
    if not settings.start_from:
        return None
    file = read_weight_file(Path(settings.start_from), METHOD)
    return network_from_state(file.tensors, file.config)
