"""Weight files of the network that refines slices: shipped, or of one's own training."""

from __future__ import annotations

from MedFusionLib.methods.network_files import NetworkFile
from MedFusionLib.refining.network import SliceRefiner, from_config

FILE = NetworkFile("finer", SliceRefiner, from_config)
network_from_state, save_network, load_network = FILE.from_state, FILE.save, FILE.load
