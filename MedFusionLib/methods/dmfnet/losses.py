"""The three terms of DM-FNet's fusion loss (He et al., arXiv 2506.15218).

All images are (N, 1, H, W) in [-1, 1]: ``fused`` is the network's output, ``reference`` the MR
slice, ``other`` the CT slice or the luminance of the PET or SPECT slice.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

# The usual (0.03 L)² of SSIM with L = 1, although the images span [-1, 1]: as in the paper's code.
STRUCTURE_CONSTANT = 0.03**2
WINDOW_SIZE = 11
WINDOW_SIGMA = 1.5


def gaussian_window() -> Tensor:
    """Return the (1, 1, 11, 11) Gaussian window of σ = 1.5 that sums to one."""
    offsets = torch.arange(WINDOW_SIZE, dtype=torch.float64) - WINDOW_SIZE // 2
    profile = torch.exp(-(offsets**2) / (2 * WINDOW_SIGMA**2))
    profile = (profile / profile.sum()).float()
    return torch.outer(profile, profile)[None, None]


def sobel_magnitude(image: Tensor) -> Tensor:
    """Return |Sobel_x| + |Sobel_y| of (N, 1, H, W), the border padded with zeros."""
    horizontal = image.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([horizontal, -horizontal.T])[:, None]
    return functional.conv2d(image, kernels, padding=1).abs().sum(dim=1, keepdim=True)


def intensity_loss(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """Return the mean absolute distance to the pixel maximum of the sources."""
    return (fused - torch.maximum(reference, other)).abs().mean()


def gradient_loss(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """Return the mean absolute distance to the stronger source's gradient magnitude."""
    stronger = torch.maximum(sobel_magnitude(reference), sobel_magnitude(other))
    return (sobel_magnitude(fused) - stronger).abs().mean()


def structure_similarity(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """Return the mean contrast-structure similarity with the locally more varied source.

    It is SSIM without its luminance factor, ``(2 σ_fk + C) / (σ_f² + σ_k² + C)``, where k is at
    each pixel the source with the larger local variance.
    """
    window = gaussian_window().to(fused)

    def local_mean(image: Tensor) -> Tensor:
        return functional.conv2d(image, window, padding=WINDOW_SIZE // 2)

    def covariance(first: Tensor, second: Tensor) -> Tensor:
        return local_mean(first * second) - local_mean(first) * local_mean(second)

    variances = covariance(reference, reference), covariance(other, other)
    # Rounding makes some variances of flat regions negative. Their root is not a number, the
    # comparison fails and the second image is chosen, which the reference values include.
    reference_varies_more = variances[0].sqrt() >= variances[1].sqrt()
    chosen_variance = torch.where(reference_varies_more, *variances)
    chosen_covariance = torch.where(
        reference_varies_more, covariance(fused, reference), covariance(fused, other)
    )
    similarity = (2 * chosen_covariance + STRUCTURE_CONSTANT) / (
        covariance(fused, fused) + chosen_variance + STRUCTURE_CONSTANT
    )
    return similarity.mean()


def structure_loss(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """Return half of one minus the structure similarity."""
    return 0.5 * (1 - structure_similarity(fused, reference, other))


def hybrid_loss(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """Return the paper's loss: 1.5 · intensity + gradient + structure."""
    return (
        1.5 * intensity_loss(fused, reference, other)
        + gradient_loss(fused, reference, other)
        + structure_loss(fused, reference, other)
    )


def denoising_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return stage I's loss: the sum of squared errors over the number of elements."""
    return math.prod(target.shape) ** -1 * (predicted - target).square().sum()
