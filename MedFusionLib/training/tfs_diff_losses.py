"""The loss of TFS-Diff: the distance of the prediction, and what the drawn image lacks in SSIM.

The paper holds the reconstructed image against the wanted one (arXiv 2404.17357). Its public code
passes the predicted noise to SSIM in the image's place, which is not done here; as the
reconstruction of an almost pure noise is one itself, it counts by the square of the noise level.
"""

from __future__ import annotations

from torch import Tensor

from MedFusionLib.training.legibility import (
    LEGIBILITY_WEIGHTS,
    bone_terms,
    lesion_terms,
    range_terms,
)
from MedFusionLib.training.lesions import Lesions
from MedFusionLib.training.losses import dissimilarity, mean_absolute

DISTANCE, SIMILARITY = 40.0, 20.0
"""Weights of the teacher's image beside what a reader must see."""


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


def legible_terms(
    uncut: Tensor,
    fused: Tensor,
    change: Tensor,
    sources: Tensor,
    lesions: Lesions,
    wanted: Tensor,
    legibility: float,
) -> dict[str, Tensor]:
    """What the teacher's image shows, and what a reader must see of each of three sources.

    Args:
        uncut, fused: the drawn image before and after it is cut to what can be shown,
            (N, 1, H, W) in [0, 1]. Bone and hot places are those of the brightest of the others.
        change: what it becomes with ``lesions``, minus ``fused``.
        sources: sharp and without lesions, (N, 3, H, W); zero where there is none.
        wanted: what the teacher makes of them.
        legibility: weight of all but the teacher's image.
    """
    reference, others = sources[:, :1], sources[:, 1:].amax(1, keepdim=True)
    seen = (
        lesion_terms(lesions, change, *sources.split(1, dim=1))
        | bone_terms(fused, others)
        | range_terms(uncut, fused, reference, others)
    )
    imitated = {
        "distance": DISTANCE * mean_absolute(fused - wanted).mean(),
        "similarity": SIMILARITY * dissimilarity(fused, wanted).mean(),
    }
    weighted = {
        name: legibility * weight * seen[name] for name, weight in LEGIBILITY_WEIGHTS.items()
    }
    return imitated | weighted
