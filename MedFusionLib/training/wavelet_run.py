"""One training run of the wavelet autoencoder, both stages, from settings to weight file."""

from __future__ import annotations

from pathlib import Path

from MedFusionLib.methods.wavelet.architecture import PRESETS, Architecture
from MedFusionLib.methods.wavelet.network import WaveletAutoencoder
from MedFusionLib.methods.wavelet.weight_file import METHOD, network_from_state, save_network
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.rates import RATES
from MedFusionLib.training.runs import WEIGHTS_NAME, Goal, begin, chosen, fit, part_of_state
from MedFusionLib.training.settings import Hardware, WaveletSettings
from MedFusionLib.training.wavelet_losses import LOSSES
from MedFusionLib.training.wavelet_module import WaveletTraining
from MedFusionLib.weights.files import read_weight_file


def train_wavelet(
    settings: WaveletSettings, folder: Path, hardware: Hardware, resume: bool = False
) -> Path:
    """Train and write ``weights.safetensors`` of the best epoch of stage II into ``folder``.

    ``resume`` goes on from the folder's last checkpoint. Raises ``InputError`` for an unknown
    preset, loss or learning rate curve, for an impossible share of the phases, for missing data,
    and for a folder that holds a run unless ``resume`` is set; ``WeightsError`` if the weights to
    begin with do not fit the preset.
    """
    architecture = chosen("preset", settings.preset, PRESETS)
    loss = chosen("loss", settings.loss, LOSSES)
    chosen("learning rate curve", settings.rate, RATES)
    begin(settings, folder, resume)
    module = WaveletTraining(
        _first_network(settings, architecture),
        loss(settings.legibility),
        Augmentation(crop=settings.crop),
        settings,
    )
    state = part_of_state(fit(module, settings, folder, hardware, resume, Goal()), "network.")
    save_network(network_from_state(state, architecture), folder / WEIGHTS_NAME)
    return folder / WEIGHTS_NAME


def _first_network(settings: WaveletSettings, architecture: Architecture) -> WaveletAutoencoder:
    if not settings.start_from:
        return WaveletAutoencoder(architecture)
    file = read_weight_file(Path(settings.start_from), METHOD)
    return network_from_state(file.tensors, architecture).train()
