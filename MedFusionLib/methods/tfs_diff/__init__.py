"""TFS-Diff as a fusion method of two or three sources (MICCAI 2024, arXiv 2404.17357)."""

from MedFusionLib.methods.tfs_diff.architecture import PRESETS, Architecture
from MedFusionLib.methods.tfs_diff.author_weights import from_author_state
from MedFusionLib.methods.tfs_diff.method import create
from MedFusionLib.methods.tfs_diff.network import TFSDiff

__all__ = ["PRESETS", "Architecture", "TFSDiff", "create", "from_author_state"]
