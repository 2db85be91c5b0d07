"""DFVO as a fusion method (arXiv 2505.04526): disentangle, enhance what is dark, fuse."""

from MedFusionLib.methods.dfvo.architecture import PRESETS, Architecture
from MedFusionLib.methods.dfvo.author_weights import from_author_state
from MedFusionLib.methods.dfvo.method import create
from MedFusionLib.methods.dfvo.network import DFVO

__all__ = ["DFVO", "PRESETS", "Architecture", "create", "from_author_state"]
