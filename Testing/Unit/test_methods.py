"""The classical methods and the registry."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch

from MedFusionLib.computing.slice_fusion import fuse_slices
from MedFusionLib.errors import UnknownMethodError
from MedFusionLib.methods import METHODS, FusionMethod, create_method, pyramid
from MedFusionLib.methods import guided_filter as guided

CLASSICAL = [name for name, card in METHODS.items() if card.kind == "classical"]
BINOMIAL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def pair(seed=0, count=3, height=70, width=53):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, 1, height, width, generator=generator) for _ in range(2))


def test_an_unknown_method_lists_the_known_ones():
    with pytest.raises(UnknownMethodError, match="average, maximum, pyramid"):
        create_method("magic")


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_method_follows_the_protocol_and_keeps_the_shape(name):
    method = create_method(name)
    assert isinstance(method, FusionMethod)
    reference, other = pair()
    assert fuse_slices(method, reference, other).shape == reference.shape


@pytest.mark.parametrize("name", [name for name in CLASSICAL if name != "additive"])
def test_fusing_an_image_with_itself_gives_it_back(name):
    image, _ = pair()
    assert torch.allclose(fuse_slices(create_method(name), image, image), image, atol=2e-5)


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_slice_gives_the_same_result_in_any_batch(name):
    reference, other = pair()
    method = create_method(name)
    together = fuse_slices(method, reference, other)
    alone = fuse_slices(method, reference[1:2], other[1:2])
    assert torch.allclose(together[1:2], alone, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "precision"),
    [(name, one) for name, card in METHODS.items() for one in card.reduced_precisions],
)
def test_an_offered_precision_keeps_a_smooth_slice_within_the_promised_limit(name, precision):
    reference, other = pair(seed=4, count=1, height=128, width=128)
    method = create_method(name)
    smooth = [torch.nn.functional.avg_pool2d(image, 2) for image in (reference, other)]
    exact = fuse_slices(method, *smooth)
    with torch.autocast("cpu", getattr(torch, precision)):
        rounded = fuse_slices(method, *smooth)
    assert 0 < (rounded - exact).abs().max() <= 5e-3


def test_average_and_maximum_are_numpys():
    reference, other = pair()
    one, two = reference.numpy(), other.numpy()
    average = fuse_slices(create_method("average"), reference, other).numpy()
    assert np.allclose(average, (one + two) / 2)
    maximum = fuse_slices(create_method("maximum"), reference, other).numpy()
    assert np.array_equal(maximum, np.maximum(one, two))


def test_a_pyramid_level_is_scipys_binomial_at_every_second_pixel():
    image = torch.rand(1, 1, 32, 48, dtype=torch.float64)
    expected = scipy.ndimage.convolve(image[0, 0].numpy(), BINOMIAL, mode="mirror")[::2, ::2]
    assert np.allclose(pyramid.reduce(image)[0, 0].numpy(), expected)


def test_a_pyramid_is_put_together_again_exactly():
    image = torch.rand(2, 1, 64, 96, dtype=torch.float64)
    details, base = pyramid.decompose(image, 4)
    assert torch.allclose(pyramid.collapse(details, base), image)


def test_expanding_keeps_a_constant_up_to_the_border():
    assert torch.allclose(pyramid.expand(torch.ones(1, 1, 8, 8)), torch.ones(1, 1, 16, 16))


@pytest.mark.parametrize("base", ["reference", "other", "average", "maximum"])
def test_the_base_rule_decides_on_flat_images(base):
    reference, other = torch.full((1, 1, 32, 32), 0.2), torch.full((1, 1, 32, 32), 0.8)
    expected = {"reference": 0.2, "other": 0.8, "average": 0.5, "maximum": 0.8}[base]
    fused = create_method("pyramid", base=base).fuse(reference, other)
    assert torch.allclose(fused, torch.full_like(fused, expected))


def test_an_unknown_base_or_option_is_refused_with_a_sentence():
    with pytest.raises(ValueError, match="Choose one of"):
        create_method("pyramid", base="sum")
    with pytest.raises(ValueError, match="does not have one of the options"):
        create_method("average", base="sum")


def test_the_box_mean_is_the_mean_of_what_lies_in_the_window():
    image = np.random.default_rng(0).random((19, 23))
    ours = guided.box_mean(torch.from_numpy(image)[None, None], 3)[0, 0].numpy()
    for row, column in [(0, 0), (9, 11), (18, 22), (2, 20)]:
        window = image[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4]
        assert ours[row, column] == pytest.approx(window.mean())


def test_the_guided_filter_is_the_mean_of_the_windows_ridge_regressions():
    """He, Sun and Tang's definition, solved window by window with numpy's least squares."""
    rng = np.random.default_rng(1)
    guide, source = rng.random((12, 14)), rng.random((12, 14))
    radius, epsilon = 2, 0.01
    lines = np.zeros((12, 14, 2))
    for row, column in np.ndindex(12, 14):
        inside = np.s_[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
        values, targets = guide[inside].ravel(), source[inside].ravel()
        # Ridge on the slope only: an extra equation sqrt(n·ε)·slope = 0.
        design = np.vstack(
            [np.column_stack([values, np.ones_like(values)]), [np.sqrt(len(values) * epsilon), 0]]
        )
        lines[row, column] = np.linalg.lstsq(design, np.append(targets, 0), rcond=None)[0]
    expected = np.zeros_like(guide)
    for row, column in np.ndindex(12, 14):
        inside = np.s_[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
        slope, intercept = lines[inside].reshape(-1, 2).mean(axis=0)
        expected[row, column] = slope * guide[row, column] + intercept
    ours = guided.guided_filter(
        torch.from_numpy(guide)[None, None], torch.from_numpy(source)[None, None], radius, epsilon
    )
    assert np.allclose(ours[0, 0].numpy(), expected, atol=1e-9)


def test_saliency_is_scipys_smoothed_laplacian():
    image = np.random.default_rng(2).random((40, 40))
    laplacian = np.abs(scipy.ndimage.laplace(image, mode="nearest"))
    expected = scipy.ndimage.gaussian_filter(laplacian, 5, truncate=1.0, mode="nearest")
    ours = guided.saliency(torch.from_numpy(image)[None, None])[0, 0].numpy()
    assert np.allclose(ours, expected, atol=1e-9)


def textured(seed: int, low: float, high: float) -> torch.Tensor:
    noise = torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(seed))
    return low + (high - low) * torch.nn.functional.avg_pool2d(noise, 9, 1, 4)


@pytest.mark.parametrize("sigma", [2.0, 4.0, 7.0])
@pytest.mark.parametrize("in_other", [False, True])
@pytest.mark.parametrize("amplitude", [-0.2, 0.2])
def test_additive_shows_a_lesion_of_either_source(sigma, in_other, amplitude):
    sources = [textured(1, 0.2, 0.4), textured(2, 0.3, 0.5)]
    rows, columns = np.mgrid[:128, :128] - 64
    profile = torch.from_numpy(np.exp(-(rows**2 + columns**2) / (2 * sigma**2))).float()
    method = create_method("additive")
    without = method.fuse(*sources)
    sources[in_other] = sources[in_other] + amplitude * profile
    change = method.fuse(*sources) - without
    shown = (profile * change).sum() / (amplitude * profile.square()).sum()
    # The maximum would show 1 or nearly 0, the average 0.5.
    assert 0.85 <= shown <= 1.05


def test_additive_leaves_bone_solid_and_an_empty_place_black():
    ct, mr = torch.full((2, 1, 1, 96, 96), 0.3)
    ct[..., 30:60, 30:60] = 1.0
    mr[..., 40:50, 40:50] = 0.6
    ct[..., :10], mr[..., :10] = 0, 0
    fused = create_method("additive").fuse(mr, ct)
    assert fused[..., 30:60, 30:60].min() >= 0.9
    assert fused[..., :10].abs().max() == 0
