"""The output that all learned methods share: the sources' own bands, each times a gain."""

from __future__ import annotations

import pytest
import scipy.ndimage
import torch

from MedFusionLib.methods.weighted_bands import FoldedBands, WeightedBands, gaussian, split


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    reference, other = torch.rand(2, 1, 1, 64, 96, generator=generator)
    return reference, other


def maps_of(details: float, brighter: float, darker: float, darkening: float) -> torch.Tensor:
    """Maps that are the same everywhere, one number for all bands of both sources."""
    values = [details] * (WeightedBands.channels - 3) + [brighter, darker, darkening]
    return torch.tensor(values).view(1, -1, 1, 1).expand(1, -1, 64, 96)


ONE = float(torch.logit(torch.tensor(1 / 1.5)))
NONE, FULL = -100.0, 100.0


def test_the_bands_and_what_is_smoother_add_up_to_the_images(images) -> None:
    both = torch.cat(images, dim=1)
    bands, smoothest = split(both)
    assert torch.allclose(sum(bands) + smoothest, both, atol=1e-6)


def test_smoothing_is_scipys_gaussian_with_the_border_continued(images) -> None:
    expected = scipy.ndimage.gaussian_filter(
        images[0][0, 0].double().numpy(), 2.0, mode="nearest", truncate=3
    )
    assert torch.allclose(
        gaussian(images[0], 2.0)[0, 0].double(), torch.from_numpy(expected), atol=1e-5
    )


def test_every_band_holds_what_its_name_says() -> None:
    # A lesion of 3 pixels lies mostly in the bands from 1 to 8 pixels.
    rows, columns = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    lesion = torch.exp(-((rows - 64) ** 2 + (columns - 64) ** 2) / (2 * 3.0**2))[None, None]
    bands, _ = split(lesion)
    at_centre = [float(band[0, 0, 64, 64]) for band in bands]
    assert at_centre[0] < 0.15 and sum(at_centre[1:4]) > 0.7


def test_gains_of_one_in_equal_sources_show_them_twice_and_of_none_a_smooth_image(images) -> None:
    image, _ = images
    output = WeightedBands()
    doubled = output.uncut(maps_of(ONE, FULL, FULL, NONE), image, image)
    assert torch.allclose(doubled, 2 * image, atol=1e-5)
    smooth = output.uncut(maps_of(NONE, FULL, NONE, NONE), image, image)
    assert torch.allclose(smooth, split(image)[1], atol=1e-6)


def test_one_source_alone_comes_back_over_an_empty_one(images) -> None:
    image = images[0]
    fused = WeightedBands()(maps_of(ONE, FULL, NONE, NONE), image, torch.zeros_like(image))
    assert torch.allclose(fused, image, atol=1e-5)


def test_darkening_is_smooth_and_takes_no_detail(images) -> None:
    output = WeightedBands()
    maps = maps_of(ONE, FULL, FULL, NONE).clone()
    undarkened = output.uncut(maps, *images)
    maps[:, -1] = 20 * torch.randn(64, 96, generator=torch.Generator().manual_seed(1))
    darkening = undarkened - output.uncut(maps, *images)
    assert darkening.min() >= 0 and darkening.max() <= 1
    assert (darkening - gaussian(darkening, 3.0)).abs()[..., 16:-16, 16:-16].max() < 0.02


def test_dark_places_stay_dark_whatever_the_gains_say(images) -> None:
    reference, other = (image.clone() for image in images)
    reference[..., :20], other[..., :20] = 0, 0.01
    reference[..., :8], other[..., :8] = 0, 0
    fused = WeightedBands()(maps_of(FULL, FULL, FULL, NONE), reference, other)
    assert fused[..., :8].abs().max() == 0
    assert fused[..., 8:20].max() <= 0.015 + 1e-6
    assert fused.min() >= 0 and fused.max() <= 1


def test_folded_maps_are_the_same_gains_at_half_the_size(images) -> None:
    folded = torch.tensor(FoldedBands.start).view(1, -1, 1, 1).expand(1, -1, 32, 48)
    whole = torch.tensor(WeightedBands.start).view(1, -1, 1, 1).expand(1, -1, 64, 96)
    assert torch.allclose(
        FoldedBands()(folded, *images), WeightedBands()(whole, *images), atol=1e-6
    )
