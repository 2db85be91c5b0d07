"""Our own weight files of TFS-Diff."""

from __future__ import annotations

from MedFusionLib.methods.network_files import NetworkFile
from MedFusionLib.methods.tfs_diff.architecture import from_config
from MedFusionLib.methods.tfs_diff.network import TFSDiff

METHOD = "tfs-diff"
FILE = NetworkFile(METHOD, TFSDiff, from_config)
empty_network = FILE.empty
network_from_state, save_network, load_network = FILE.from_state, FILE.save, FILE.load
