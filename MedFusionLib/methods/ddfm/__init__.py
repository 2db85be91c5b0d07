"""DDFM as a fusion method (Zhao et al., ICCV 2023, arXiv 2303.06840).

Nothing is trained for the fusion: a denoising network draws an image from noise, and every step
of the drawing is led towards both sources. The denoiser here is stage I of DM-FNet.
"""

from MedFusionLib.methods.ddfm.method import create

__all__ = ["create"]
