"""Our own weight files of Hi-Net."""

from __future__ import annotations

from MedFusionLib.methods.hinet.architecture import from_config
from MedFusionLib.methods.hinet.network import HiNet
from MedFusionLib.methods.network_files import NetworkFile

METHOD = "hinet"
FILE = NetworkFile(METHOD, HiNet, from_config)
network_from_state, save_network, load_network = FILE.from_state, FILE.save, FILE.load
