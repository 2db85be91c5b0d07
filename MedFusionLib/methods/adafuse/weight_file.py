"""Our own weight files of AdaFuse."""

from __future__ import annotations

from MedFusionLib.methods.adafuse.architecture import Architecture
from MedFusionLib.methods.adafuse.network import AdaFuse
from MedFusionLib.methods.network_files import NetworkFile

METHOD = "adafuse"
FILE = NetworkFile(METHOD, AdaFuse, lambda config: Architecture(**config))
empty_network = FILE.empty
network_from_state, save_network, load_network = FILE.from_state, FILE.save, FILE.load
