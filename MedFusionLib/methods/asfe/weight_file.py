"""Our own weight files of ASFE-Fusion."""

from __future__ import annotations

from MedFusionLib.methods.asfe.architecture import from_config
from MedFusionLib.methods.asfe.network import ASFEFusion
from MedFusionLib.methods.network_files import NetworkFile

METHOD = "asfe"
FILE = NetworkFile(METHOD, ASFEFusion, from_config)
empty_network = FILE.empty
network_from_state, save_network, load_network = FILE.from_state, FILE.save, FILE.load
