"""One training run of the network that refines slices, from its settings to the weight file."""

from __future__ import annotations

from pathlib import Path

from MedFusionLib.refining.network import Architecture, SliceRefiner
from MedFusionLib.refining.weight_file import FILE
from MedFusionLib.training.finer_module import FinerTraining
from MedFusionLib.training.rates import RATES
from MedFusionLib.training.runs import (
    Goal,
    begin,
    chosen,
    fit_on,
)
from MedFusionLib.training.settings import FinerSettings, Hardware
from MedFusionLib.training.slabs import fixed_slabs, read_heads, slab_loader
from MedFusionLib.training.trained_networks import write_trained

GOAL = Goal("dev/gain", "max")


def train_finer(
    settings: FinerSettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Train and write ``weights.safetensors`` of the best epoch into ``folder``.

    ``resume`` goes on from the folder's last checkpoint. Raises ``InputError`` for an unknown
    learning rate curve, for missing volumes, and for a folder that holds a run unless ``resume``
    is set; ``WeightsError`` if the weights to begin with are not such a network's.
    """
    chosen("learning rate curve", settings.rate, RATES)
    architecture = Architecture(settings.width, settings.blocks)
    data = Path(settings.data)
    heads, dev = read_heads(data, settings.volumes), read_heads(data, settings.dev_volumes)
    begin(settings, folder, resume)
    module = FinerTraining(
        FILE.load(settings.start_from)[0].train()
        if settings.start_from
        else SliceRefiner(architecture),
        settings.learning_rate,
        settings.rate,
        settings.epochs * settings.steps,
    )
    size = settings.crop, settings.batch_size
    loaders = (
        slab_loader(heads, *size, settings.steps, settings.seed),
        fixed_slabs(dev, *size, settings.dev_slabs),
    )
    state = fit_on(loaders, module, settings, folder, hardware, resume, GOAL)
    return write_trained(FILE, state, module.network.architecture, folder)
