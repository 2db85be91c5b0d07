"""DC2Fusion as a fusion method that sees volumes (arXiv 2310.06291)."""

from MedFusionLib.methods.dc2.architecture import PRESETS, Architecture
from MedFusionLib.methods.dc2.method import create
from MedFusionLib.methods.dc2.network import DC2Fusion

__all__ = ["PRESETS", "Architecture", "DC2Fusion", "create"]
