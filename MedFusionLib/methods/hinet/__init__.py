"""Hi-Net: a missing MR sequence from two others (Zhou et al., IEEE TMI 39:2772, 2020).

No fusion method: it invents an image instead of showing two. ``MedFusionLib.synthesis`` runs it.
"""

from MedFusionLib.methods.hinet.architecture import PRESETS, Architecture
from MedFusionLib.methods.hinet.author_weights import from_author_state
from MedFusionLib.methods.hinet.network import HiNet, Synthesis

__all__ = ["PRESETS", "Architecture", "HiNet", "Synthesis", "from_author_state"]
