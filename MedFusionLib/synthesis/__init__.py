"""A missing MR sequence, made up from two others, and called synthetic wherever it goes."""

from MedFusionLib.synthesis.synthesise import SynthesisResult, synthesise

__all__ = ["SynthesisResult", "synthesise"]
