"""Our own weight files of EMMA."""

from __future__ import annotations

from MedFusionLib.methods.emma.architecture import from_config
from MedFusionLib.methods.emma.network import UFuser
from MedFusionLib.methods.network_files import NetworkFile

METHOD = "emma"
FILE = NetworkFile(METHOD, UFuser, from_config)
network_from_state, save_network, load_network = FILE.from_state, FILE.save, FILE.load
