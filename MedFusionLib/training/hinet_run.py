"""One training run of Hi-Net, from its settings to the final weight file."""

from __future__ import annotations

from pathlib import Path

from MedFusionLib.methods.hinet.architecture import PRESETS, Architecture
from MedFusionLib.methods.hinet.network import HiNet
from MedFusionLib.methods.hinet.weight_file import FILE
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.hinet_contrasts import INPUTS, ContrastModel
from MedFusionLib.training.hinet_data import loaders, read_head
from MedFusionLib.training.hinet_module import HiNetTraining
from MedFusionLib.training.rates import RATES
from MedFusionLib.training.runs import Goal, begin, chosen, fit_on
from MedFusionLib.training.settings import Hardware, HiNetSettings
from MedFusionLib.training.trained_networks import write_trained


def train_hinet(
    settings: HiNetSettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Train two of T1, PD and T2 to the third: ``weights.safetensors`` of the best epoch.

    ``resume`` goes on from the folder's last checkpoint. Raises ``InputError`` for an unknown
    target, preset or learning rate curve, for missing volumes, and for a folder that holds a run
    unless ``resume`` is set.
    """
    width = chosen("preset", settings.preset, PRESETS).width
    inputs = chosen("target", settings.target, INPUTS)
    architecture = Architecture(width, inputs, settings.target, expects_error=True)
    chosen("learning rate curve", settings.rate, RATES)
    begin(settings, folder, resume)
    head = read_head(Path(settings.data), settings.t1, settings.grey, settings.white)
    module = HiNetTraining(
        HiNet(architecture),
        ContrastModel(settings.target),
        Augmentation(crop=settings.crop, warped_share=1.0),
        settings.learning_rate,
        settings.rate,
        settings.epochs * settings.steps,
    )
    data = loaders(head.slices(), settings.batch_size, settings.steps, settings.seed)
    state = fit_on(data, module, settings, folder, hardware, resume, Goal("dev/error", "min"))
    return write_trained(FILE, state, architecture, folder)
