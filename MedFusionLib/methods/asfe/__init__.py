"""ASFE-Fusion as a fusion method (Gu et al., Biomed. Signal Process. Control 96:106478, 2024)."""

from MedFusionLib.methods.asfe.architecture import PRESETS, Architecture
from MedFusionLib.methods.asfe.author_weights import from_author_state
from MedFusionLib.methods.asfe.method import create
from MedFusionLib.methods.asfe.network import ASFEFusion

__all__ = ["PRESETS", "ASFEFusion", "Architecture", "create", "from_author_state"]
