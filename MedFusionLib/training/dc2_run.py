"""One training run of DC2Fusion, from its settings to the final weight file."""

from __future__ import annotations

from pathlib import Path

from MedFusionLib.errors import InputError
from MedFusionLib.methods.dc2.architecture import PRESETS
from MedFusionLib.methods.dc2.network import DC2Fusion
from MedFusionLib.methods.dc2.weight_file import FILE
from MedFusionLib.training.data import SlicePair
from MedFusionLib.training.dc2_losses import LOSSES
from MedFusionLib.training.dc2_module import DC2Training
from MedFusionLib.training.rates import RATES
from MedFusionLib.training.runs import Goal, begin, chosen, fit
from MedFusionLib.training.settings import DC2Settings, Hardware, RunSettings
from MedFusionLib.training.trained_networks import first_network, write_trained
from MedFusionLib.training.volume_augmentation import VolumeAugmentation
from MedFusionLib.training.volume_data import read_volume_pairs


def train_dc2(
    settings: DC2Settings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Train and write ``weights.safetensors`` of the best epoch into ``folder``.

    ``resume`` goes on from the folder's last checkpoint. Raises ``InputError`` for an unknown
    preset, loss or learning rate curve, for more than one pair per step, for missing data, and for
    a folder that holds a run unless ``resume`` is set; ``WeightsError`` if the weights to begin
    with do not fit the preset.
    """
    architecture = chosen("preset", settings.preset, PRESETS)
    loss = chosen("loss", settings.loss, LOSSES)(settings.legibility)
    chosen("learning rate curve", settings.rate, RATES)
    if settings.batch_size != 1:
        raise InputError("dc2 trains on one pair of volumes per step. Leave --batch-size at 1.")
    begin(settings, folder, resume)
    module = DC2Training(
        first_network(FILE, settings.start_from, architecture, DC2Fusion),
        loss,
        VolumeAugmentation(settings.depth, settings.crop, architecture.stride),
        settings.learning_rate,
        settings.rate,
        settings.epochs * settings.steps,
    )
    state = fit(module, settings, folder, hardware, resume, Goal(), read=_read_pairs)
    return write_trained(FILE, state, architecture, folder)


def _read_pairs(settings: RunSettings, split: str) -> list[SlicePair]:
    assert isinstance(settings, DC2Settings)
    return read_volume_pairs(Path(settings.data), Path(settings.pairs), split)
