"""Our own weight files of DFVO."""

from __future__ import annotations

from MedFusionLib.methods.dfvo.architecture import from_config
from MedFusionLib.methods.dfvo.network import DFVO
from MedFusionLib.methods.network_files import NetworkFile

METHOD = "dfvo"
FILE = NetworkFile(METHOD, DFVO, from_config)
empty_network = FILE.empty
network_from_state, save_network, load_network = FILE.from_state, FILE.save, FILE.load
