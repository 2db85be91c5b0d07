"""One training run of TFS-Diff, from its settings to the final weight file."""

from __future__ import annotations

from pathlib import Path

from MedFusionLib.errors import InputError
from MedFusionLib.methods import create_method
from MedFusionLib.methods.several import for_several
from MedFusionLib.methods.tfs_diff.architecture import PRESETS, Architecture
from MedFusionLib.methods.tfs_diff.weight_file import FILE
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.rates import RATES
from MedFusionLib.training.runs import WEIGHTS_NAME, Goal, begin, chosen, fit
from MedFusionLib.training.settings import Hardware, TFSDiffSettings
from MedFusionLib.training.tfs_diff_module import TFSDiffTraining, fresh_network
from MedFusionLib.training.third_source import TripleDataset
from MedFusionLib.training.trained_networks import first_network, trained_network

LOSSES = ("legible", "teacher")


def train_tfs_diff(
    settings: TFSDiffSettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Train and write ``weights.safetensors`` of the best epoch into ``folder``.

    ``resume`` goes on from the folder's last checkpoint. Raises ``InputError`` for an unknown
    preset or learning rate curve, for impossible shares, for missing data, and for a folder that
    holds a run unless ``resume`` is set; ``WeightsError`` if the weights to begin with do not fit
    the preset.
    """
    architecture = chosen("preset", settings.preset, PRESETS)
    chosen("learning rate curve", settings.rate, RATES)
    chosen("loss", settings.loss, dict.fromkeys(LOSSES))
    _refuse_impossible_shares(settings, architecture)
    if settings.loss == "legible" and architecture.output == "noise":
        raise InputError(f"The preset '{settings.preset}' predicts noise: give --loss teacher.")
    teacher = create_method(settings.teacher, "cpu")
    _refuse_crop(settings.crop, teacher.stride, architecture.stride)
    begin(settings, folder, resume)
    module = TFSDiffTraining(
        first_network(FILE, settings.start_from, architecture, fresh_network),
        for_several(teacher),
        Augmentation(crop=settings.crop),
        settings,
    )
    state = fit(module, settings, folder, hardware, resume, Goal("dev/both"), TripleDataset)
    FILE.save(trained_network(FILE, state, architecture).half(), folder / WEIGHTS_NAME)
    return folder / WEIGHTS_NAME


def _refuse_impossible_shares(settings: TFSDiffSettings, architecture: Architecture) -> None:
    if max(settings.absent_share, settings.coarse_share) > 1:
        raise InputError("--absent-share and --coarse-share are shares from 0 to 1.")
    if settings.absent_share and not architecture.knows_absence:
        raise InputError(
            f"The preset '{settings.preset}' knows no absent source: give --absent-share 0."
        )


def _refuse_crop(crop: int, *strides: int) -> None:
    if any(crop % stride for stride in strides):
        raise InputError(
            f"--crop is a multiple of {max(strides)} here, which {crop} is not: the method that "
            "makes the wanted images needs it."
        )
