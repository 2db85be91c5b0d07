"""DM-FNet: features of a denoising diffusion UNet, fused by an attention head.

He et al., "DM-FNet: Unified multimodal medical image fusion via diffusion process-trained
multi-scale feature network", IEEE Transactions on Multimedia, 2025, arXiv 2506.15218.
"""

from MedFusionLib.methods.dmfnet.author_weights import (
    head_from_author_state,
    unet_from_author_state,
)
from MedFusionLib.methods.dmfnet.method import create

__all__ = ["create", "head_from_author_state", "unet_from_author_state"]
