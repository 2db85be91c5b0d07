"""The training runs of EMMA: its sensing networks, then the fusion network through them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from MedFusionLib.methods import create_method
from MedFusionLib.methods.checkpoints import stored_shapes
from MedFusionLib.methods.emma.architecture import PRESETS
from MedFusionLib.methods.emma.weight_file import FILE
from MedFusionLib.training import emma_sensing
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.emma_losses import EquivariantLoss, LegibleEquivariantLoss
from MedFusionLib.training.emma_modules import EMMATraining, SensingTraining, fresh_network
from MedFusionLib.training.emma_transforms import Transforms
from MedFusionLib.training.legible_module import FuserLoss
from MedFusionLib.training.runs import WEIGHTS_NAME, Goal, begin, chosen, fit, part_of_state
from MedFusionLib.training.settings import EMMASettings, Hardware, SensingSettings
from MedFusionLib.training.trained_networks import first_network, write_trained


def _equivariant(settings: EMMASettings, corners: bool) -> EquivariantLoss:
    pair = emma_sensing.load_pair(Path(settings.sensing))
    copies = settings.copies
    return EquivariantLoss(pair, Transforms(copies, copies, copies), corners)


LOSSES: dict[str, Callable[[EMMASettings], FuserLoss]] = {
    "legible": lambda settings: LegibleEquivariantLoss(
        _equivariant(settings, corners=False), settings.legibility
    ),
    "equivariant": lambda settings: _equivariant(settings, corners=False),
    "paper": lambda settings: _equivariant(settings, corners=True),
}


def train_sensing(
    settings: SensingSettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Train and write both networks of the best epoch to ``weights.safetensors`` in ``folder``.

    ``resume`` goes on from the folder's last checkpoint. Raises ``InputError`` for an unknown
    preset, for missing data, and for a folder that holds a run unless ``resume`` is set;
    ``UnknownMethodError`` for an unknown method.
    """
    width = chosen("preset", settings.preset, emma_sensing.PRESETS)
    methods = [create_method(name) for name in settings.methods]
    begin(settings, folder, resume)
    module = SensingTraining(
        emma_sensing.SensingPair(width),
        methods,
        Augmentation(crop=settings.crop),
        settings.learning_rate,
        settings.epochs * settings.steps,
    )
    state = fit(module, settings, folder, hardware, resume, Goal("dev/error", "min"))
    state = part_of_state(state, "pair.")
    trained = {key: state[key] for key in stored_shapes(module.pair)}
    pair = emma_sensing.pair_from_state(trained, {"width": width})
    emma_sensing.save_pair(pair, folder / WEIGHTS_NAME)
    return folder / WEIGHTS_NAME


def train_emma(
    settings: EMMASettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Train and write ``weights.safetensors`` of the best epoch into ``folder``.

    ``resume`` goes on from the folder's last checkpoint. Raises ``InputError`` for an unknown
    preset or loss, for missing data, and for a folder that holds a run unless ``resume`` is set;
    ``WeightsError`` if the sensing networks or the weights to begin with cannot be used.
    """
    architecture = chosen("preset", settings.preset, PRESETS)
    loss = chosen("loss", settings.loss, LOSSES)(settings)
    begin(settings, folder, resume)
    module = EMMATraining(
        first_network(FILE, settings.start_from, architecture, fresh_network),
        loss,
        Augmentation(crop=settings.crop),
        settings.learning_rate,
        settings.epochs * settings.steps,
    )
    state = fit(module, settings, folder, hardware, resume, Goal())
    return write_trained(FILE, state, architecture, folder)
