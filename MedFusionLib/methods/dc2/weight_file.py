"""Our own weight files of DC2Fusion."""

from __future__ import annotations

from MedFusionLib.methods.dc2.architecture import from_config
from MedFusionLib.methods.dc2.network import DC2Fusion
from MedFusionLib.methods.network_files import NetworkFile

METHOD = "dc2"
FILE = NetworkFile(METHOD, DC2Fusion, from_config)
network_from_state, save_network, load_network = FILE.from_state, FILE.save, FILE.load
