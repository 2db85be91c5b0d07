"""What every method that is one trained network promises: batches, background, sizes, precision."""

from __future__ import annotations

import pytest
import torch
from noise_slices import slices
from torch.nn import functional as F

from MedFusionLib.computing.slice_fusion import fuse_slices
from MedFusionLib.methods import FusionMethod, create_method, method_card

METHODS = ("live", "cddfuse", "emma", "adafuse", "dfvo", "coconet", "wavelet", "dc2", "tfs-diff")


@pytest.fixture(scope="module", params=METHODS)
def shipped(request: pytest.FixtureRequest) -> FusionMethod:
    return create_method(request.param)


def test_a_slice_of_any_size_gives_the_same_result_alone_and_in_a_batch(
    shipped: FusionMethod,
) -> None:
    reference, other = slices(3)
    together = fuse_slices(shipped, reference, other)
    assert together.shape == reference.shape
    for index in range(3):
        alone = fuse_slices(shipped, reference[index : index + 1], other[index : index + 1])
        assert torch.allclose(alone, together[index : index + 1], atol=1e-5)


@pytest.mark.parametrize("side", [1, 7, 17])
def test_tiny_planes_are_fused(shipped: FusionMethod, side: int) -> None:
    image = torch.rand(1, 1, side, side)
    assert fuse_slices(shipped, image, image).shape == image.shape


def test_empty_space_stays_exactly_black(shipped: FusionMethod) -> None:
    fused = fuse_slices(shipped, *slices(1))
    assert fused[..., :16].abs().max() == 0
    assert fused.min() >= 0 and fused.max() <= 1


@pytest.mark.parametrize(
    ("name", "stride"),
    [
        ("cddfuse", 2),
        ("emma", 16),
        ("adafuse", 64),
        ("dfvo", 8),
        ("coconet", 16),
        ("wavelet", 4),
        ("tfs-diff", 8),
    ],
)
def test_size_that_is_no_multiple_of_the_stride_is_refused_with_the_number(
    name: str, stride: int
) -> None:
    image = torch.rand(1, 1, 64, 63)
    with pytest.raises(ValueError, match=rf"multiples of {stride} .* not 64×63"):
        create_method(name).fuse(image, image)


@pytest.mark.parametrize(
    ("name", "precision"),
    [(name, precision) for name in METHODS for precision in method_card(name).reduced_precisions],
)
def test_an_offered_precision_changes_the_fused_slice_by_less_than_five_thousandths(
    name: str, precision: str
) -> None:
    method = create_method(name)
    reference, other = F.avg_pool2d(torch.cat(slices(2, 128, 128)), 2).chunk(2)
    exact = method.fuse(reference, other)
    with torch.autocast("cpu", getattr(torch, precision)):
        rounded = method.fuse(reference, other)
    assert (rounded - exact).abs().max() <= 5e-3
