"""Our own weight files of the wavelet autoencoder."""

from __future__ import annotations

from MedFusionLib.methods.network_files import NetworkFile
from MedFusionLib.methods.wavelet.architecture import from_config
from MedFusionLib.methods.wavelet.network import WaveletAutoencoder

METHOD = "wavelet"
FILE = NetworkFile(METHOD, WaveletAutoencoder, from_config)
network_from_state, save_network, load_network = FILE.from_state, FILE.save, FILE.load
