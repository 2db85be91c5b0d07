"""AFF, the adaptive frequency fusion of ASFE-Fusion: a learned filter on the spectrum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from MedFusionLib.methods.blocks.precision import at_least_single


def regrouped_spectrum(parts: Tensor) -> Tensor:
    """Real and imaginary maps ``(N, 2C, H, W')`` to the complex ``(N, C, H, W')`` they mean."""
    pairs = parts.unflatten(1, (-1, 2)).permute(0, 1, 3, 4, 2)
    return torch.view_as_complex(pairs.contiguous())


def published_spectrum(parts: Tensor) -> Tensor:
    """What the published model hands to the inverse transform: complex ``(N, C, W', 2)``.

    Its axes are exchanged on the way back: the first two rows of each map end up as real and
    imaginary part, and the pair of maps as columns. Published weights fit only this order. The
    inverse transform fills the rest with zeros, so that the result is a smooth, low-frequency map.
    """
    pairs = parts.unflatten(1, (-1, 2)).permute(0, 1, 4, 2, 3)
    return torch.complex(pairs[..., 0], pairs[..., 1])


SPECTRA: dict[str, Callable[[Tensor], Tensor]] = {
    "published": published_spectrum,
    "regrouped": regrouped_spectrum,
}


class AdaptiveFrequencyFilter(nn.Module):
    """Filter one feature map in the Fourier domain; ``(N, C, H, W)`` keeps its shape.

    Real and imaginary parts of each channel stand side by side as 2C real maps, are mixed by a
    1x1 convolution, and weighted by an attention map over frequencies. The authors' code gives
    each image its own filter and adds the results; the paper's figure has one for both.
    ``spectrum``, a key of ``SPECTRA``, says how the maps become complex numbers again.
    """

    def __init__(self, channels: int, spectrum: str) -> None:
        super().__init__()
        self.to_complex = SPECTRA[spectrum]
        self.mixing = nn.Conv2d(2 * channels, 2 * channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * channels)
        self.attention = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        # Spectra span many orders of magnitude, and half-precision FFT does not exist everywhere.
        with torch.autocast(maps.device.type, enabled=False):
            # Nested, so that no step's maps outlive the next: each is as large as the image's.
            filtered = self.to_complex(self._filter(_real_spectrum(maps)))
            return torch.fft.irfft2(filtered, s=maps.shape[-2:])

    def _filter(self, parts: Tensor) -> Tensor:
        mixed = torch.relu(self.norm(self.mixing(parts)))
        summary = torch.cat([mixed.mean(1, keepdim=True), mixed.amax(1, keepdim=True)], dim=1)
        return mixed * torch.sigmoid(self.attention(summary))


def _real_spectrum(maps: Tensor) -> Tensor:
    """Spectrum of ``(N, C, H, W)`` as real maps ``(N, 2C, H, W')``: re0, im0, re1, im1, ..."""
    spectrum = torch.fft.rfft2(at_least_single(maps))
    return torch.view_as_real(spectrum).permute(0, 1, 4, 2, 3).flatten(1, 2)
