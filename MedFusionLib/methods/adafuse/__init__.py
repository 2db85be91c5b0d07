"""AdaFuse as a fusion method (Gu et al., arXiv 2310.05462)."""

from MedFusionLib.methods.adafuse.architecture import PRESETS, Architecture
from MedFusionLib.methods.adafuse.author_weights import from_author_state
from MedFusionLib.methods.adafuse.method import create
from MedFusionLib.methods.adafuse.network import AdaFuse

__all__ = ["PRESETS", "AdaFuse", "Architecture", "create", "from_author_state"]
