"""CoCoNet as a fusion method (Liu et al., IJCV 2024, arXiv 2211.10960)."""

from MedFusionLib.methods.coconet.architecture import PRESETS, Architecture
from MedFusionLib.methods.coconet.author_weights import from_author_state
from MedFusionLib.methods.coconet.method import create
from MedFusionLib.methods.coconet.network import CoCoNet

__all__ = ["PRESETS", "Architecture", "CoCoNet", "create", "from_author_state"]
