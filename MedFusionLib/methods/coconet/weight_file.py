"""Our own weight files of CoCoNet."""

from __future__ import annotations

from MedFusionLib.methods.coconet.architecture import from_config
from MedFusionLib.methods.coconet.network import CoCoNet
from MedFusionLib.methods.network_files import NetworkFile

METHOD = "coconet"
FILE = NetworkFile(METHOD, CoCoNet, from_config)
empty_network = FILE.empty
network_from_state, save_network, load_network = FILE.from_state, FILE.save, FILE.load
