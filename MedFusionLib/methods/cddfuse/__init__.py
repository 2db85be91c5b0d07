"""CDDFuse as a fusion method (Zhao et al., CVPR 2023, arXiv 2211.14461)."""

from MedFusionLib.methods.cddfuse.architecture import PRESETS, Architecture
from MedFusionLib.methods.cddfuse.author_weights import from_author_states
from MedFusionLib.methods.cddfuse.method import create
from MedFusionLib.methods.cddfuse.network import CDDFuse

__all__ = ["PRESETS", "Architecture", "CDDFuse", "create", "from_author_states"]
