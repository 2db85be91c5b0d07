"""Differentiable terms that compare a fused image with its two sources.

All images are (N, 1, H, W) in [0, 1]; every function returns one number per image, (N,), unless
it says otherwise. Sums over an image run before ratios, so that a term does not depend on how
many images a batch has.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

SMALL = 1e-6


def mean_absolute(difference: Tensor) -> Tensor:
    """Mean of |difference| per image."""
    return difference.abs().flatten(1).mean(1)


def sobel(image: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical Sobel derivative, border filled with zeros."""
    kernel = image.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    both = F.conv2d(image, torch.stack([kernel, kernel.T]).unsqueeze(1), padding=1)
    return both[:, :1], both[:, 1:]


def edge_strength(image: Tensor) -> Tensor:
    """Sum of the magnitudes of both Sobel derivatives, zero beyond the border, (N, 1, H, W)."""
    horizontal, vertical = sobel(image)
    return horizontal.abs() + vertical.abs()


def normalised_sobel(image: Tensor) -> Tensor:
    """Both Sobel derivatives over 8, borders continued, (N, 2, H, W): kornia's spatial gradient."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    return torch.cat(sobel(padded), dim=1)[..., 1:-1, 1:-1] / 8


def forward_differences(image: Tensor) -> tuple[Tensor, Tensor]:
    """Difference to the right and to the lower neighbour; zero in the last column and row."""
    horizontal = F.pad(image[..., :, 1:] - image[..., :, :-1], (0, 1))
    vertical = F.pad(image[..., 1:, :] - image[..., :-1, :], (0, 0, 0, 1))
    return horizontal, vertical


def stronger(first: Tensor, second: Tensor) -> Tensor:
    """Of two derivatives the one of larger magnitude, with its sign."""
    return torch.where(first.abs() >= second.abs(), first, second)


def gradient_distance(fused: Tensor, first: Tensor, second: Tensor, gain: float = 1.0) -> Tensor:
    """Mean distance of the fused derivatives to the stronger source's, sign included.

    ``gain`` above 1 asks for that much steeper edges than the sources have.
    """
    triples = zip(
        forward_differences(fused),
        forward_differences(first),
        forward_differences(second),
        strict=True,
    )
    distances = [
        mean_absolute(of_fused - gain * stronger(one, two)) for of_fused, one, two in triples
    ]
    return torch.stack(distances).sum(0)


def gaussian_window(size: int, sigma: float, like: Tensor) -> Tensor:
    """One-dimensional window that sums to 1; two passes of it make the two-dimensional one."""
    offsets = torch.arange(size, device=like.device, dtype=like.dtype) - (size - 1) / 2
    window = torch.exp(-(offsets**2) / (2 * sigma**2))
    return window / window.sum()


def filtered(image: Tensor, window: Tensor, padding: int = 0) -> Tensor:
    """Filter rows and columns of (N, C, H, W) with a one-dimensional window."""
    channels = image.shape[1]
    row = window.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    image = F.conv2d(image, row, padding=(0, padding), groups=channels)
    return F.conv2d(image, row.transpose(2, 3), padding=(padding, 0), groups=channels)


def local_moments(
    first: Tensor, second: Tensor, window: Tensor, padding: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Weighted means of both images, their variances and their covariance, around every pixel."""
    products = torch.cat([first, second, first * first, second * second, first * second], dim=1)
    mean1, mean2, square1, square2, product = filtered(products, window, padding).split(1, dim=1)
    return (
        mean1,
        mean2,
        square1 - mean1 * mean1,
        square2 - mean2 * mean2,
        product - mean1 * mean2,
    )


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """SSIM of Wang et al., IEEE TIP 13:600, 2004: Gaussian 11x11 of sigma 1.5, range 1.

    Borders are filled with zeros, as in the ASFE-Fusion authors' loss.
    """
    padded = (F.pad(image, (5, 5, 5, 5)) for image in (first, second))
    return similarity_map(*padded).flatten(1).mean(1)


def similarity_map(first: Tensor, second: Tensor) -> Tensor:
    """SSIM at every pixel whose 11x11 window is inside, (N, 1, H - 10, W - 10)."""
    window = gaussian_window(11, 1.5, first)
    mean1, mean2, variance1, variance2, covariance = local_moments(first, second, window)
    luminance = (2 * mean1 * mean2 + 0.01**2) / (mean1**2 + mean2**2 + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (variance1 + variance2 + 0.03**2)
    return luminance * structure


def dissimilarity(first: Tensor, second: Tensor) -> Tensor:
    """Half of 1 - SSIM, which is cut to [0, 1], with borders mirrored: kornia 0.2's loss, (N,).

    Images may have several channels, (N, C, H, W), each compared by itself.
    """
    padded = (
        F.pad(image.flatten(0, 1).unsqueeze(1), (5, 5, 5, 5), mode="reflect")
        for image in (first, second)
    )
    lacking = (1 - similarity_map(*padded)).clamp(0, 1) / 2
    return lacking.view(len(first), -1).mean(1)


def edge_preservation(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Smooth version of Qabf (Xydeas and Petrovic, Electron. Lett. 36:308, 2000), 0 to 1.

    Strength and orientation that survive are weighted by the sources' gradient magnitudes. The
    orientation is measured by the angle between gradient lines, which has no jump at 90 degrees.
    """
    of_fused = sobel(fused)
    numerator, denominator = fused.new_zeros(len(fused)), fused.new_zeros(len(fused))
    for source in (first, second):
        of_source = sobel(source)
        weight = magnitude(of_source)
        kept = _kept_strength(of_source, of_fused) * _kept_orientation(of_source, of_fused)
        numerator = numerator + (weight * kept).flatten(1).sum(1)
        denominator = denominator + weight.flatten(1).sum(1)
    return numerator / (denominator + SMALL)


def magnitude(derivatives: tuple[Tensor, Tensor]) -> Tensor:
    """Length of the gradient; its own gradient stays finite at zero."""
    horizontal, vertical = derivatives
    return torch.sqrt(horizontal**2 + vertical**2 + SMALL**2)


def _kept_strength(source: tuple[Tensor, Tensor], fused: tuple[Tensor, Tensor]) -> Tensor:
    of_source, of_fused = magnitude(source), magnitude(fused)
    ratio = torch.minimum(of_source, of_fused) / torch.maximum(of_source, of_fused)
    return 0.9994 * torch.sigmoid(15 * (ratio - 0.5))


def _kept_orientation(source: tuple[Tensor, Tensor], fused: tuple[Tensor, Tensor]) -> Tensor:
    along = source[0] * fused[0] + source[1] * fused[1]
    across = source[0] * fused[1] - source[1] * fused[0]
    angle = torch.atan2(across.abs(), along.abs() + SMALL)
    return 0.9879 * torch.sigmoid(22 * (1 - angle * (2 / math.pi) - 0.8))


def visual_information_fidelity(source: Tensor, fused: Tensor, scales: int = 3) -> Tensor:
    """Pixel-domain VIF of Sheikh and Bovik, IEEE TIP 15:430, 2006, over the finest scales.

    Windows of 17, 9 and 5 pixels, noise variance 2 on a scale of 255. The coarsest of the usual
    four scales is left out: training crops are small.
    """
    source, fused = source * 255, fused * 255
    carried, available = source.new_zeros(len(source)), source.new_zeros(len(source))
    for scale in range(scales):
        size = 2 ** (4 - scale) + 1
        window = gaussian_window(size, size / 5, source)
        if scale > 0:
            source, fused = (filtered(image, window)[..., ::2, ::2] for image in (source, fused))
        kept, whole = _information(source, fused, window)
        carried, available = carried + kept, available + whole
    return carried / (available + SMALL)


def _information(source: Tensor, fused: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Information that the fused image carries of the source, and all that the source has."""
    noise = 2.0
    _, _, variance, of_fused, covariance = local_moments(source, fused, window)
    variance, of_fused = variance.clamp(min=0), of_fused.clamp(min=0)
    gain = (covariance / (variance + SMALL)).clamp(min=0)
    rest = (of_fused - gain * covariance).clamp(min=SMALL)
    kept = torch.log1p(gain**2 * variance / (rest + noise))
    return kept.flatten(1).sum(1), torch.log1p(variance / noise).flatten(1).sum(1)


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation over the pixels of each image."""
    first = first.flatten(1) - first.flatten(1).mean(1, keepdim=True)
    second = second.flatten(1) - second.flatten(1).mean(1, keepdim=True)
    spread = first.square().sum(1) * second.square().sum(1)
    return (first * second).sum(1) / torch.sqrt(spread + SMALL)


def difference_correlation(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """SCD of Aslantas and Bendes, AEU 69:1890, 2015: what each source added, -2 to 2."""
    return correlation(first, fused - second) + correlation(second, fused - first)
