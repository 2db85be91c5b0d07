"""The loss of TFS-Diff: the distance of the prediction, and what the drawn image lacks in SSIM.

The paper holds the reconstructed image against the wanted one (arXiv 2404.17357). Its public code
passes the predicted noise to SSIM in the image's place, which is not done here; as the
reconstruction of an almost pure noise is one itself, it counts by the square of the noise level.
"""

from __future__ import annotations

from torch import Tensor

from MedFusionLib.training.losses import dissimilarity


def denoising_terms(
    prediction: Tensor, wanted: Tensor, rebuilt: Tensor, clean: Tensor, noise_level: Tensor
) -> dict[str, Tensor]:
    """Both weighted terms of a batch, to be minimised.

    Args:
        prediction, wanted: the network's and the true noise (or clean image), (N, C, H, W).
        rebuilt: the clean image that follows from the prediction, like ``clean``.
        clean: the fused image that was wanted, (N, C, H, W) in [-1, 1].
        noise_level: (N, 1), the factor of the clean image in the noisy one.
    """
    lacking = dissimilarity(rebuilt, clean) * noise_level.flatten() ** 2
    return {"distance": (prediction - wanted).abs().mean(), "similarity": lacking.mean()}
