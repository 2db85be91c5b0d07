"""The Haar wavelet against its closed form, and the pooling and unpooling that stand on it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from MedFusionLib.methods.blocks.haar import Details, haar, inverse_haar
from MedFusionLib.methods.wavelet.architecture import PRESETS
from MedFusionLib.methods.wavelet.network import WaveletPooling, WaveletUnpooling


@pytest.fixture
def maps() -> Tensor:
    return torch.rand(2, 3, 12, 20, generator=torch.Generator().manual_seed(4)) - 0.5


def along(maps: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Sums and differences of neighbours along one axis, over √2: the transform's definition."""
    even, odd = maps.unfold(dim, 2, 2).unbind(-1)
    return (even + odd) / 2**0.5, (even - odd) / 2**0.5


def test_the_bands_are_sums_and_differences_along_rows_and_then_columns(maps: Tensor) -> None:
    smooth, details = haar(maps)
    of_sums, of_differences = (along(part, 2) for part in along(maps, 3))
    for band, expected in zip(
        (smooth, details.vertical, details.horizontal, details.diagonal),
        (*of_sums, *of_differences),
        strict=True,
    ):
        assert torch.allclose(band, expected, atol=1e-6)


def test_the_bands_agree_with_another_library(maps: Tensor) -> None:
    pywt = pytest.importorskip("pywt")
    expected = pywt.dwt2(maps.numpy(), "haar", axes=(2, 3))
    smooth, details = haar(maps)
    # Its horizontal details are those of edges that lie, ours those along a row.
    pairs = zip(expected[1], (details.vertical, details.horizontal, details.diagonal), strict=True)
    for theirs, ours in ((expected[0], smooth), *pairs):
        assert torch.allclose(ours, torch.from_numpy(theirs), atol=1e-6)


def test_a_square_of_four_pixels_gives_the_four_numbers_of_the_definition() -> None:
    square = torch.tensor([[1.0, 2.0], [4.0, 8.0]]).view(1, 1, 2, 2)
    smooth, details = haar(square)
    assert smooth.item() == 7.5
    assert [band.item() for band in details] == [-2.5, -4.5, 1.5]


def test_the_inverse_gives_the_maps_back_and_the_bands_keep_their_energy(maps: Tensor) -> None:
    smooth, details = haar(maps)
    assert torch.allclose(inverse_haar(smooth, details), maps, atol=1e-6)
    energy = sum(float(band.square().sum()) for band in (smooth, *details))
    assert energy == pytest.approx(float(maps.square().sum()), rel=1e-5)


def test_unpooling_what_was_pooled_gives_the_maps_back() -> None:
    maps = torch.rand(1, 4, 16, 16)
    smooth, _ = haar(maps)
    _, details = WaveletPooling(4, PRESETS["compact"])(maps)
    unpooling = WaveletUnpooling(4, 4)
    nn.init.dirac_(unpooling.smooth.weight)
    nn.init.zeros_(unpooling.smooth.bias)
    assert torch.allclose(unpooling(smooth, details), maps, atol=1e-6)


def test_a_constant_has_no_details_and_twice_its_value() -> None:
    smooth, details = haar(torch.full((1, 2, 8, 8), 0.3))
    assert torch.allclose(smooth, torch.tensor(0.6))
    assert all(band.abs().max() == 0 for band in details)


def test_a_shift_by_two_pixels_shifts_the_bands_by_one(maps: Tensor) -> None:
    for axis in (2, 3):
        smooth, details = haar(maps)
        moved_smooth, moved_details = haar(maps.roll(2, axis))
        assert torch.equal(moved_smooth, smooth.roll(1, axis))
        assert all(
            torch.equal(moved, band.roll(1, axis))
            for moved, band in zip(moved_details, details, strict=True)
        )


def test_a_gradient_passes_the_transform_and_its_inverse_unchanged(maps: Tensor) -> None:
    maps = maps.requires_grad_()
    weights = torch.rand_like(maps)
    smooth, details = haar(maps)
    (inverse_haar(smooth, Details(*details)) * weights).sum().backward()
    assert torch.allclose(maps.grad, weights, atol=1e-6)
