"""Fusion metrics of definition set A (the DM-FNet evaluator), batched in PyTorch.

Every metric takes float64 tensors of shape (N, H, W) with grey values 0..255 and returns one value
per slice as a float64 tensor (N). `fused` is always the first argument; the two sources are
`reference` (MR) and `other` (CT, or the luminance of PET or SPECT). Images are expected to be
rounded to whole grey values where a histogram is taken (EN, MI); other values are rounded there.

All metrics are symmetric in the two sources. Only PyTorch is needed, so that the report of a fusion
can be made inside Slicer as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from MedFusionLib.evaluation.filters import filtered, gaussian_window, sobel
from MedFusionLib.evaluation.metric_cards import METRIC_CARDS

DEFINITION_SET = "A (DM-FNet evaluator: MI in nats, VIF and SSIM as sums over the two sources)"

GREY_LEVELS = 256
SSIM_WINDOW = 7
FLOAT_RANGE = 2.0
"""The data range of SSIM that scikit-image took for floats, from -1 to 1, and many published tables
with it though their grey values run to 255."""
VIF_WINDOWS = (17, 9, 5, 3)
VIF_SMALLEST_SIDE = 41  # below this the fourth scale has no pixel left that the window covers
VIF_NOISE_VARIANCE = 2.0
VIF_EPSILON = 1e-10
SLICES_AT_ONCE = 8  # keeps the temporaries of VIF and Qabf within the processor's cache


def entropy(fused: Tensor) -> Tensor:
    """EN = -sum_g p(g) log2 p(g) over the 256-bin histogram of the rounded fused slice.

    Range 0..8 bit, higher is taken as better. Roberts, van Aardt and Ahmed, J. Appl. Remote
    Sensing 2 (2008) 023522. Looks at no source: noise raises it.
    """
    levels = _grey_levels(fused).flatten(1)
    histogram = _counts(levels, GREY_LEVELS)
    return _entropy_of_counts(histogram) / math.log(2.0)


def standard_deviation(fused: Tensor) -> Tensor:
    """SD = sqrt(mean((F - mean F)^2)), the population standard deviation.

    Range 0..127.5, higher is taken as better. Rao, Meas. Sci. Technol. 8 (1997) 355. Looks at no
    source: contrast and noise raise it.
    """
    return fused.flatten(1).std(dim=1, unbiased=False)


def spatial_frequency(fused: Tensor) -> Tensor:
    """SF = sqrt(mean((dF/dx)^2) + mean((dF/dy)^2)) with first differences between neighbours.

    Range 0..361, higher is taken as better. Eskicioglu and Fisher, IEEE Trans. Commun. 43 (1995)
    2959. Looks at no source: noise raises it.
    """
    rows = fused.diff(dim=-1).square().mean(dim=(-2, -1))
    columns = fused.diff(dim=-2).square().mean(dim=(-2, -1))
    return (rows + columns).sqrt()


def average_gradient(fused: Tensor) -> Tensor:
    """AG = mean sqrt((Gx^2 + Gy^2) / 2), central differences inside, one-sided at the borders.

    Range 0..255, higher is taken as better. Cui et al., Opt. Commun. 341 (2015) 199. Looks at no
    source: noise raises it.
    """
    vertical, horizontal = torch.gradient(fused, dim=(-2, -1))
    return ((vertical.square() + horizontal.square()) / 2).sqrt().mean(dim=(-2, -1))


def mutual_information(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """MI = I(F; A) + I(F; B) in nats, from the joint histograms of whole grey values.

    Range 0..2 ln 256 = 11.1, higher is better. Qu, Zhang and Yan, Electron. Lett. 38 (2002) 313.
    CAN BE RAISED BY COPYING one source: I(A; A) is all the entropy of A.
    """
    return _mutual_information(fused, reference) + _mutual_information(fused, other)


def sum_of_correlations_of_differences(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """SCD = r(A, F - B) + r(B, F - A) with Pearson's r.

    Range -2..2, higher is better; nan where a difference is constant, so a plain copy of a source
    has no value. Aslantas and Bendes, AEU Int. J. Electron. Commun. 69 (2015) 1890.
    """
    return _correlation(reference, fused - other) + _correlation(other, fused - reference)


def correlation_coefficient(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """CC = (r(A, F) + r(B, F)) / 2 with Pearson's r.

    Range -1..1, higher is better; nan for a constant image. Deshmukh and Bhosale, Int. J. Image
    Process. 4 (2010) 484. A copy of one source has (1 + r(A, B)) / 2, less than the average has:
    the average of the normalised sources is its optimum.
    """
    return (_correlation(reference, fused) + _correlation(other, fused)) / 2


def mean_squared_error(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """MSE = (mean((A - F)^2) + mean((B - F)^2)) / 2.

    Range 0..65025, lower is better; the average of the sources is its optimum by construction, so
    it rewards washed-out contrast. Jagalingam and Hegde, Aquat. Procedia 4 (2015) 133.
    """
    to_reference = (reference - fused).square().mean(dim=(-2, -1))
    to_other = (other - fused).square().mean(dim=(-2, -1))
    return (to_reference + to_other) / 2


def peak_signal_to_noise_ratio(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """PSNR = 10 log10(max(F)^2 / MSE), with the maximum of the fused slice, not 255.

    In dB, higher is better; inf where the MSE is 0, -inf for an empty fused slice. The average of
    the sources is near its optimum. Jagalingam and Hegde, Aquat. Procedia 4 (2015) 133.
    """
    peak = fused.amax(dim=(-2, -1))
    return 10 * torch.log10(peak.square() / mean_squared_error(fused, reference, other))


def structural_similarity(
    fused: Tensor, reference: Tensor, other: Tensor, data_range: float = 255.0
) -> Tensor:
    """SSIM = SSIM(F, A) + SSIM(F, B), the sum and not the mean.

    7x7 uniform window, sample covariance, K1 = 0.01, K2 = 0.03, averaged over the pixels whose
    window lies inside the slice; nan for slices smaller than the window. Range -2..2, higher is
    better. Wang et al., IEEE Trans. Image Process. 13 (2004) 600. CAN BE RAISED BY COPYING one
    source: that half of the sum is then at its maximum.
    """
    return _structural_similarity(fused, reference, data_range) + _structural_similarity(
        fused, other, data_range
    )


def visual_information_fidelity(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """VIF = VIFp(A -> F) + VIFp(B -> F), pixel-domain visual information fidelity.

    Four scales with Gaussian windows of N = 17, 9, 5, 3 pixels, sigma N/5, noise variance 2; each
    VIFp is the information in the fused slice over that in the source, and 1 where the source has
    none. Nan for slices with a side below 41 pixels. Range 0..about 2 (more where contrast is
    raised), higher is better. Sheikh and Bovik, IEEE Trans. Image Process. 15 (2006) 430; for
    fusion Han et al., Inf. Fusion 14 (2013) 127. CAN BE RAISED BY COPYING one source: its VIFp is
    then 1.
    """
    return visual_information_kept(reference, fused) + visual_information_kept(other, fused)


def edge_preservation(fused: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """Qabf = sum(Q_AF g_A + Q_BF g_B) / sum(g_A + g_B), the edges of the sources kept in F.

    g is the Sobel strength (zero padding), Q the product of two sigmoids of the agreement in
    strength and in angle. Where the two strengths are equal the agreement is the strength itself:
    a quirk of the evaluator that is kept, so that values compare with published ones. Range 0..1,
    higher is better; nan where no source has an edge. Xydeas and Petrovic, Electron. Lett. 36
    (2000) 308. CAN BE RAISED BY COPYING the source with the stronger edges.
    """
    fused_strength, fused_angle = _sobel(fused)
    weighted = torch.zeros(fused.shape[0], dtype=fused.dtype, device=fused.device)
    weights = torch.zeros_like(weighted)
    for source in (reference, other):
        strength, angle = _sobel(source)
        kept = _edge_agreement(strength, angle, fused_strength, fused_angle)
        weighted = weighted + (kept * strength).sum(dim=(-2, -1))
        weights = weights + strength.sum(dim=(-2, -1))
    return weighted / weights


def visual_information_kept(source: Tensor, fused: Tensor) -> Tensor:
    """VIFp of one source in the fused slice; see `visual_information_fidelity`."""
    if min(source.shape[-2:]) < VIF_SMALLEST_SIDE:
        return torch.full((source.shape[0],), math.nan, dtype=source.dtype, device=source.device)
    kept = torch.zeros(source.shape[0], dtype=source.dtype, device=source.device)
    present = torch.zeros_like(kept)
    for scale, size in enumerate(VIF_WINDOWS):
        window = gaussian_window(size, source)
        if scale > 0:
            source = filtered(source, window)[..., ::2, ::2]
            fused = filtered(fused, window)[..., ::2, ::2]
        kept_here, present_here = _visual_information_at_scale(source, fused, window)
        kept, present = kept + kept_here, present + present_here
    return torch.nan_to_num(kept / present, nan=1.0)


METRICS_OF_FUSED: dict[str, Callable[[Tensor], Tensor]] = {
    "EN": entropy,
    "SD": standard_deviation,
    "SF": spatial_frequency,
    "AG": average_gradient,
}
METRICS_OF_PAIR: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "MI": mutual_information,
    "SCD": sum_of_correlations_of_differences,
    "VIF": visual_information_fidelity,
    "Qabf": edge_preservation,
    "SSIM": structural_similarity,
    "PSNR": peak_signal_to_noise_ratio,
    "CC": correlation_coefficient,
    "MSE": mean_squared_error,
}


def all_metrics(
    fused: Tensor,
    reference: Tensor,
    other: Tensor,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """All metrics of set A for a batch of slices.

    Args: three tensors (N, H, W), grey values 0..255 of any real type (computed in float64).
    `progress(done, N)` is called now and then; what it raises ends the work.
    Returns: metric name (see `METRIC_CARDS`) -> float64 tensor (N).
    Raises: ValueError when the shapes differ, are not (N, H, W), or a value is not finite.
    """
    _check(fused, reference, other)
    chunks = zip(
        *(images.split(SLICES_AT_ONCE) for images in (fused, reference, other)), strict=True
    )
    parts = []
    for number, chunk in enumerate(chunks, start=1):
        parts.append(_metrics_of_chunk(*(images.double() for images in chunk)))
        if progress is not None:
            progress(min(number * SLICES_AT_ONCE, len(fused)), len(fused))
    return {name: torch.cat([part[name] for part in parts]) for name in METRIC_CARDS}


def _metrics_of_chunk(fused: Tensor, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
    values = {name: metric(fused) for name, metric in METRICS_OF_FUSED.items()}
    return values | {
        name: metric(fused, reference, other) for name, metric in METRICS_OF_PAIR.items()
    }


def _check(fused: Tensor, reference: Tensor, other: Tensor) -> None:
    if fused.ndim != 3 or fused.shape[0] == 0 or min(fused.shape[1:]) < 2:
        raise ValueError(
            "Metrics need slices of shape (N, H, W) with at least 2x2 pixels, "
            f"not {tuple(fused.shape)}."
        )
    if fused.shape != reference.shape or fused.shape != other.shape:
        raise ValueError(
            "The fused slices and both sources must have one shape, not "
            f"{tuple(fused.shape)}, {tuple(reference.shape)} and {tuple(other.shape)}."
        )
    if not all(bool(torch.isfinite(images).all()) for images in (fused, reference, other)):
        raise ValueError("Metrics need finite grey values; there are nan or infinite ones.")


def _grey_levels(images: Tensor) -> Tensor:
    return images.round().clamp(0, GREY_LEVELS - 1).long()


def _counts(levels: Tensor, size: int) -> Tensor:
    """Histogram of each row of `levels` (N, pixels) with values 0..size-1, as float64 (N, size)."""
    offsets = torch.arange(levels.shape[0], device=levels.device)[:, None] * size
    counts = torch.bincount((levels + offsets).flatten(), minlength=levels.shape[0] * size)
    return counts.reshape(levels.shape[0], size).double()


def _entropy_of_counts(counts: Tensor) -> Tensor:
    probability = counts / counts.sum(dim=1, keepdim=True)
    return torch.special.entr(probability).sum(dim=1)


def _mutual_information(fused: Tensor, source: Tensor) -> Tensor:
    joint_levels = _grey_levels(fused) * GREY_LEVELS + _grey_levels(source)
    joint = _counts(joint_levels.flatten(1), GREY_LEVELS**2)
    table = joint.reshape(-1, GREY_LEVELS, GREY_LEVELS)
    return (
        _entropy_of_counts(table.sum(dim=1))
        + _entropy_of_counts(table.sum(dim=2))
        - _entropy_of_counts(joint)
    )


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    first = first.flatten(1) - first.mean(dim=(-2, -1))[:, None]
    second = second.flatten(1) - second.mean(dim=(-2, -1))[:, None]
    norms = (first.square().sum(dim=1) * second.square().sum(dim=1)).sqrt()
    return (first * second).sum(dim=1) / norms


def _structural_similarity(first: Tensor, second: Tensor, data_range: float) -> Tensor:
    if min(first.shape[-2:]) < SSIM_WINDOW:
        return torch.full((first.shape[0],), math.nan, dtype=first.dtype, device=first.device)
    pixels = SSIM_WINDOW**2
    mean_first, mean_second = _window_mean(first), _window_mean(second)
    unbiased = pixels / (pixels - 1)
    variance_first = unbiased * (_window_mean(first.square()) - mean_first.square())
    variance_second = unbiased * (_window_mean(second.square()) - mean_second.square())
    covariance = unbiased * (_window_mean(first * second) - mean_first * mean_second)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_first * mean_second + c1) / (
        mean_first.square() + mean_second.square() + c1
    )
    structure = (2 * covariance + c2) / (variance_first + variance_second + c2)
    return (luminance * structure).mean(dim=(-2, -1))


def _window_mean(images: Tensor) -> Tensor:
    box = torch.full((SSIM_WINDOW,), 1 / SSIM_WINDOW, dtype=images.dtype, device=images.device)
    return filtered(images, box)


def _visual_information_at_scale(
    source: Tensor, fused: Tensor, window: Tensor
) -> tuple[Tensor, Tensor]:
    """Information kept in the fused slice and present in the source at one scale, (N) each."""
    mean_source, mean_fused = filtered(source, window), filtered(fused, window)
    source_variance = (filtered(source.square(), window) - mean_source.square()).clamp_min(0)
    fused_variance = (filtered(fused.square(), window) - mean_fused.square()).clamp_min(0)
    covariance = filtered(source * fused, window) - mean_source * mean_fused
    gain, noise = _gain_and_noise(source_variance, fused_variance, covariance)
    source_variance = source_variance.where(source_variance >= VIF_EPSILON, 0.0)
    kept = torch.log10(1 + gain.square() * source_variance / (noise + VIF_NOISE_VARIANCE))
    present = torch.log10(1 + source_variance / VIF_NOISE_VARIANCE)
    return kept.sum(dim=(-2, -1)), present.sum(dim=(-2, -1))


def _gain_and_noise(
    source_variance: Tensor, fused_variance: Tensor, covariance: Tensor
) -> tuple[Tensor, Tensor]:
    """The channel F = gain * A + noise of the VIF model, with its rules for flat windows."""
    gain = covariance / (source_variance + VIF_EPSILON)
    noise = fused_variance - gain * covariance
    flat_source, flat_fused = source_variance < VIF_EPSILON, fused_variance < VIF_EPSILON
    gain = gain.masked_fill(flat_source | flat_fused, 0.0)
    noise = torch.where(flat_source, fused_variance, noise).masked_fill(flat_fused, 0.0)
    inverted = gain < 0
    noise = torch.where(inverted, fused_variance, noise).clamp_min(VIF_EPSILON)
    return gain.clamp_min(0), noise


def _sobel(images: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel strength and angle (in -pi/2..pi/2, pi/2 where the horizontal part is 0)."""
    horizontal, vertical = sobel(functional.pad(images, (1, 1, 1, 1)))
    angle = torch.atan(vertical / horizontal)
    angle = angle.masked_fill(horizontal == 0, math.pi / 2)
    return (horizontal.square() + vertical.square()).sqrt(), angle


def _edge_agreement(
    strength: Tensor, angle: Tensor, fused_strength: Tensor, fused_angle: Tensor
) -> Tensor:
    """Q of Xydeas and Petrovic per pixel; constants of their paper."""
    weaker, stronger = (
        torch.minimum(strength, fused_strength),
        torch.maximum(strength, fused_strength),
    )
    ratio = torch.where(strength == fused_strength, fused_strength, weaker / stronger)
    alignment = 1 - (angle - fused_angle).abs() / (math.pi / 2)
    strength_kept = 0.9994 / (1 + torch.exp(-15 * (ratio - 0.5)))
    angle_kept = 0.9879 / (1 + torch.exp(-22 * (alignment - 0.8)))
    return strength_kept * angle_kept
