"""EMMA as a fusion method (Zhao et al., CVPR 2024, arXiv 2305.11443)."""

from MedFusionLib.methods.emma.architecture import PRESETS, Architecture
from MedFusionLib.methods.emma.author_weights import from_author_state
from MedFusionLib.methods.emma.method import create
from MedFusionLib.methods.emma.network import UFuser

__all__ = ["PRESETS", "Architecture", "UFuser", "create", "from_author_state"]
