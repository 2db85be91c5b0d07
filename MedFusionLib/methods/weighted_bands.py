"""The fused image as a sum of the sources' own bands of detail, each times a gain per pixel.

A lesion is larger than the finest detail: one of 7 mm lies in bands of 2 to 16 pixels. So both
sources are split into bands from the pixel up to 32 pixels, and a network says how much of each is
shown. It can strengthen, weaken and darken what a source shows; it cannot draw what neither has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SOURCES = 2
"""Of all methods but ``tfs-diff``, whose output weighs three."""
BANDS = 6
"""Per source: below 1 pixel (standard deviation of the Gaussian), then to about 2, 4, 8, 16, 32."""
STRIDE = 8
"""Height and width must be multiples: the coarsest smoothing runs at an eighth of the size."""
HIGHEST_GAIN = 1.5
_BRIGHTEST = 1.5
"""The result is at most so many times the sum of the sources: dark places stay dark."""


def _channels(sources: int) -> int:
    """Gains of the bands and of the smoothest images, and the darkening."""
    return sources * BANDS + sources + 1


def _start(sources: int) -> tuple[float, ...]:
    return *[math.log(2)] * (sources * BANDS), 2.0, *[-1.0] * (sources - 1), -2.0


def _fine(sources: int) -> int:
    """Gains of the two finest bands of all sources."""
    return 2 * sources


def folded_channels(sources: int) -> int:
    """Maps at half the size of :class:`FoldedBands` for so many sources."""
    return _channels(sources) + 3 * _fine(sources)


def folded_start(sources: int) -> tuple[float, ...]:
    """What these maps are in an untrained network."""
    start, fine = _start(sources), _fine(sources)
    return *[value for value in start[:fine] for _ in range(4)], *start[fine:]


class WeightedBands(nn.Module):
    """Bands of two sources and what is smoother than they, each times a gain per pixel.

    ``channels`` maps in this order: for each band, finest first, its gain in ``image1`` and in
    ``image2``, between 0 and 1.5, so that no contrast is turned round; the gains of the larger and
    of the smaller of the two smoothest images, between 0 and 1; and a darkening between 0 and 1,
    smooth over 16 pixels, which makes room for two bright sources without taking detail.
    """

    sources = SOURCES
    channels = _channels(SOURCES)
    start: tuple[float, ...] = _start(SOURCES)
    """Maps of an untrained network: all detail of both sources over the brighter smooth image."""

    def uncut(self, maps: Tensor, *images: Tensor) -> Tensor:
        """The sum before it is cut to the range that can be shown, (N, 1, H, W).

        ``maps`` (N, channels, H, W), unbounded; the images (N, 1, H, W) in [0, 1].
        """
        return self.weighed(maps, *split(torch.cat(images, dim=1)))

    def weighed(self, maps: Tensor, bands: Sequence[Tensor], smoothest: Tensor) -> Tensor:
        """:meth:`uncut` of images that :func:`split` has parted."""
        shares = torch.sigmoid(maps.to(torch.promote_types(maps.dtype, torch.float32)))
        detail_count = self.sources * BANDS
        details = (shares[:, :detail_count] * torch.cat(list(bands), dim=1)).sum(1, keepdim=True)
        base = self.base(shares[:, detail_count:-1], smoothest)
        return base + HIGHEST_GAIN * details - coarsely_smoothed(shares[:, -1:], 16.0, 8)

    def base(self, shares: Tensor, smoothest: Tensor) -> Tensor:
        """The smoothest images (N, sources, H, W), weighted by the order of their brightness."""
        brighter, darker = smoothest.amax(1, keepdim=True), smoothest.amin(1, keepdim=True)
        return shares[:, :1] * brighter + shares[:, 1:] * darker

    def cut(self, uncut: Tensor, *images: Tensor) -> Tensor:
        """To [0, 1], and to at most 1.5 times the sum of the sources: black where all are."""
        highest = self.highest(*images).clamp(max=1)
        return torch.minimum(uncut.clamp(min=0), highest)

    def highest(self, *images: Tensor) -> Tensor:
        """The brightest that a result may be over these images, which may exceed 1."""
        return _BRIGHTEST * sum(images[1:], images[0])

    def forward(self, maps: Tensor, *images: Tensor) -> Tensor:
        return self.cut(self.uncut(maps, *images), *images)


class FoldedBands(WeightedBands):
    """The same from maps at half the size, (N, channels, H/2, W/2).

    Four channels are the four pixels of one gain of the two finest bands, which may differ from
    pixel to pixel; the gains of all else are interpolated.
    """

    channels = folded_channels(SOURCES)
    start = folded_start(SOURCES)

    def weighed(self, maps: Tensor, bands: Sequence[Tensor], smoothest: Tensor) -> Tensor:
        fine_count = 4 * _fine(self.sources)
        fine = self.unfolded(maps[:, :fine_count])
        whole = torch.cat([fine, _enlarged(maps[:, fine_count:], 2)], dim=1)
        return super().weighed(whole, bands, smoothest)

    def unfolded(self, fine: Tensor) -> Tensor:
        """Maps of the two finest bands, (N, 4 C, H/2, W/2), at full size (N, C, H, W)."""
        return F.pixel_shuffle(fine, 2)


def start_maps(projection: nn.Conv2d, output: WeightedBands) -> None:
    """Make the maps of an untrained network ``output.start`` everywhere."""
    nn.init.zeros_(projection.weight)
    projection.bias = nn.Parameter(torch.tensor(output.start))


def split(images: Tensor) -> tuple[list[Tensor], Tensor]:
    """Bands of images (N, C, H, W), finest first, and what is smoother; together the images."""
    smooth = images
    bands = []
    for smoother in _smoothed(images):
        bands.append(smooth - smoother)
        smooth = smoother
    return bands, smooth


def _smoothed(images: Tensor) -> list[Tensor]:
    """Images smoothed by Gaussians of about 1, 2, 4, 8, 16 and 32 pixels.

    From the third on at half, quarter and eighth of the size, and interpolated: as exact as the
    smoothness asks for, and a tenth of the time.
    """
    one = gaussian(images, 1.0)
    two = gaussian(one, 3**0.5)
    half = gaussian(F.avg_pool2d(two, 2), 3**0.5)
    quarter = gaussian(F.avg_pool2d(half, 2), 3**0.5)
    eighth = gaussian(F.avg_pool2d(quarter, 2), 3**0.5)
    coarsest = gaussian(eighth, 12**0.5)
    coarse = zip((half, quarter, eighth, coarsest), (2, 4, 8, 8), strict=True)
    return [one, two, *(_enlarged(maps, times) for maps, times in coarse)]


def coarsely_smoothed(images: Tensor, sigma: float, times: int) -> Tensor:
    """Gaussian of ``sigma`` pixels at so many times smaller a size, interpolated, of any size.

    As exact as the smoothness asks for where ``sigma`` is at least twice ``times``.
    """
    height, width = images.shape[-2:]
    smooth = gaussian(F.avg_pool2d(images, times, ceil_mode=True), sigma / times)
    return _enlarged(smooth, times)[..., :height, :width]


def _enlarged(images: Tensor, times: int) -> Tensor:
    return F.interpolate(images, scale_factor=times, mode="bilinear", align_corners=False)


def gaussian(images: Tensor, sigma: float) -> Tensor:
    """Gaussian of ``sigma`` pixels over every channel, the border's values continued."""
    reach = math.ceil(3 * sigma)
    offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    window = torch.exp(-(offsets**2) / (2 * sigma**2))
    channels = images.shape[1]
    row = (window / window.sum()).view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, row, groups=channels), row.mT, groups=channels)
