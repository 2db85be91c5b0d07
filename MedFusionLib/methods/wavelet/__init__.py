"""A wavelet-pooled edge-preserving autoencoder as a fusion method (after arXiv 2310.11910).

Only the paper's abstract was at hand: docs/models/wavelet.md tells what is the paper's and what our
own.
"""

from MedFusionLib.methods.wavelet.architecture import PRESETS, Architecture
from MedFusionLib.methods.wavelet.method import create
from MedFusionLib.methods.wavelet.network import WaveletAutoencoder

__all__ = ["PRESETS", "Architecture", "WaveletAutoencoder", "create"]
