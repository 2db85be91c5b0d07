"""How DDFM leads an estimate of the fused image towards both sources.

The fused image F differs from the reference V by X = F - V, and the other image I by Y = I - V.
Both X and Y - X are taken as Laplace distributed, which as a mixture of normal distributions makes
a step of expectation maximisation out of them; a total variation of Y - X is halved off (Zhao et
al., "DDFM: Denoising diffusion model for multi-modality image fusion", ICCV 2023, section 3.3).

By the model, F would be V + X. The authors' code returns I - X instead, X mirrored between the
sources, and so does ``fuse``. It matters: V + X keeps the share of each source that an estimate
has, and as the scales τ favour the source that is closer on the whole, one source vanishes within
tens of steps. The mirror turns the shares around at every step, which keeps both.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMOOTHING = 0.5
"""The authors' λ: weight of the total variation."""

COUPLING = 0.001
"""The authors' ρ: how firmly the smooth auxiliary image is tied to Y - X."""

_SQUARE_GUARD = 1e-6
_INVERSE_GUARD = 1e-10
_LARGEST_RATIO = 2.0
"""D is at most twice C, so that X reaches at least a third of the way from V to I."""


class ExpectationMaximisation:
    """The state of the iteration for a batch of slices; each slice is one of its own.

    Args:
        reference, other: the sources V and I (N, 1, H, W) in [-1, 1].
        smoothing, coupling: λ and ρ.
    """

    def __init__(
        self,
        reference: Tensor,
        other: Tensor,
        smoothing: float = SMOOTHING,
        coupling: float = COUPLING,
    ) -> None:
        self.reference, self.other = reference, other
        self.contrast = other - reference
        self.smoothing = smoothing
        self.coupling = coupling
        self.reference_scale = reference.new_ones(len(reference), 1, 1, 1)
        self.other_scale = torch.ones_like(self.reference_scale)
        self.column_edges = torch.zeros_like(reference)
        self.row_edges = torch.zeros_like(reference)
        self._column_transfer = difference_transfer(reference, -1)
        self._row_transfer = difference_transfer(reference, -2)

    def fuse(self, estimate: Tensor) -> Tensor:
        """Return I - X: the estimate (N, 1, H, W) as both sources would have it."""
        return self.other - self.difference(estimate)

    def difference(self, estimate: Tensor) -> Tensor:
        """Make one step from an estimate of F, and return the model's X (N, 1, H, W)."""
        difference = estimate - self.reference
        self._expect(difference)
        self._smooth(self.contrast - difference)
        towards_other = 2 * self.other_weight * self.contrast
        towards_smooth = self.coupling * (self.contrast - self.smooth)
        weights = 2 * self.other_weight + 2 * self.reference_weight + self.coupling
        return (towards_other + towards_smooth) / weights

    def _expect(self, difference: Tensor) -> None:
        """Weigh the sources in each pixel: C for the other, D for the reference; then their τ."""
        to_other = self.contrast - difference + _SQUARE_GUARD
        self.other_weight = (2 / self.other_scale / to_other.square()).sqrt()
        squared = difference.square() + _SQUARE_GUARD
        weight = (2 / self.reference_scale / squared).sqrt()
        self.reference_weight = torch.minimum(weight, _LARGEST_RATIO * self.other_weight)
        self.reference_scale = _next_scale(self.reference_scale, self.reference_weight)
        self.other_scale = _next_scale(self.other_scale, self.other_weight)

    def _smooth(self, remainder: Tensor) -> None:
        """Move the smooth image H towards Y - X, then its edges by soft weights."""
        self.smooth = smooth_image(
            remainder,
            (self.column_edges, self.row_edges),
            (self._column_transfer, self._row_transfer),
        )
        share = self.coupling / (2 * self.smoothing + self.coupling)
        self.column_edges = share * falls(self.smooth, -1)
        self.row_edges = share * falls(self.smooth, -2)


def _next_scale(scale: Tensor, weight: Tensor) -> Tensor:
    """A slice's τ of the next step: the mean over its pixels alone, (N, 1, 1, 1)."""
    return (1 / (weight + _INVERSE_GUARD) + scale / 2).mean((-3, -2, -1), keepdim=True)


def difference_transfer(image: Tensor, axis: int) -> Tensor:
    """Fourier transform (H, W) of "the next pixel less this one" along an axis, cyclic.

    The size, precision and device are those of the image (N, 1, H, W).
    """
    kernel = image.new_zeros(image.shape[-2:])
    kernel[0, 0] = -1
    kernel[(0, -1) if axis == -1 else (-1, 0)] += 1
    return torch.fft.fft2(kernel)


def smooth_image(
    image: Tensor, edges: tuple[Tensor, Tensor], transfers: tuple[Tensor, Tensor]
) -> Tensor:
    """The image closest to ``image`` in itself and to ``edges`` in its differences.

    Args:
        image: (N, 1, H, W).
        edges: wanted differences along columns and rows, both like ``image``.
        transfers: what takes an image's Fourier transform to those of its differences.
    """
    spectrum, gains = torch.fft.fft2(image), torch.ones_like(transfers[0].real)
    for edge, transfer in zip(edges, transfers, strict=True):
        spectrum = spectrum + transfer.conj() * torch.fft.fft2(edge)
        gains = gains + transfer.abs().square()
    return torch.fft.ifft2(spectrum / gains).real


def falls(image: Tensor, axis: int) -> Tensor:
    """Each pixel less the next along an axis; the last one keeps its value, as in their code."""
    length = image.shape[axis]
    differences = image.clone()
    differences.narrow(axis, 0, length - 1).sub_(image.narrow(axis, 1, length - 1))
    return differences
