"""A small network that has learned a larger one's fused slices, for live preview."""

from MedFusionLib.methods.live.method import create
from MedFusionLib.methods.live.network import LiveFusion

__all__ = ["LiveFusion", "create"]
