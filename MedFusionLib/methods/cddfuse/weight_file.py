"""Our own weight files of CDDFuse."""

from __future__ import annotations

from MedFusionLib.methods.cddfuse.architecture import from_config
from MedFusionLib.methods.cddfuse.network import CDDFuse
from MedFusionLib.methods.network_files import NetworkFile

METHOD = "cddfuse"
FILE = NetworkFile(METHOD, CDDFuse, from_config)
network_from_state, save_network, load_network = FILE.from_state, FILE.save, FILE.load
