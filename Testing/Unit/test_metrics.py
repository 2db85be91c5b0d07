"""The metrics on images whose values follow from a formula, and against other libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import skimage.measure
import skimage.metrics
import sklearn.metrics
import torch

from MedFusionLib.evaluation import metrics


def noise_slices(seed: int, count: int = 1, side: int = 64) -> torch.Tensor:
    """Smooth random slices with whole grey values 0..255."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 1, side // 4, side // 4), generator=generator)
    fine = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear")
    return (255 * fine[:, 0]).round().double()


def test_entropy_of_all_grey_values_alike_is_eight_bits_and_of_one_value_is_none():
    every_value = torch.arange(256.0).reshape(1, 16, 16)
    assert metrics.entropy(every_value).item() == pytest.approx(8)
    assert metrics.entropy(torch.full((1, 16, 16), 7.0)).item() == 0


def test_spatial_frequency_and_average_gradient_of_a_ramp_follow_its_slope():
    ramp = (3 * torch.arange(20.0, dtype=torch.float64)).expand(1, 20, 20)
    assert metrics.spatial_frequency(ramp).item() == pytest.approx(3)
    assert metrics.average_gradient(ramp).item() == pytest.approx(3 / math.sqrt(2))


def test_standard_deviation_of_two_halves_is_half_their_distance():
    halves = torch.zeros(1, 10, 10, dtype=torch.float64)
    halves[:, :5] = 80
    assert metrics.standard_deviation(halves).item() == pytest.approx(40)


def test_metrics_agree_with_scikit_learn_scikit_image_and_scipy():
    fused, reference, other = (noise_slices(seed) for seed in (1, 2, 3))
    found = {
        name: value.item() for name, value in metrics.all_metrics(fused, reference, other).items()
    }
    f, a, b = (image[0].numpy() for image in (fused, reference, other))

    def both(measure):
        return measure(a, f) + measure(b, f)

    def information(source, image):
        return sklearn.metrics.mutual_info_score(
            source.ravel().astype(int), image.ravel().astype(int)
        )

    def correlation(one, two):
        return scipy.stats.pearsonr(one.ravel(), two.ravel()).statistic

    expected = {
        "EN": skimage.measure.shannon_entropy(f),
        "MI": both(information),
        "SSIM": both(
            lambda one, two: skimage.metrics.structural_similarity(one, two, data_range=255)
        ),
        "CC": both(correlation) / 2,
        "SCD": correlation(a, f - b) + correlation(b, f - a),
        "MSE": both(skimage.metrics.mean_squared_error) / 2,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def test_ssim_with_the_range_of_floats_is_that_of_scikit_image_for_floats():
    fused, reference, other = (noise_slices(seed) for seed in (5, 6, 7))
    found = metrics.structural_similarity(fused, reference, other, metrics.FLOAT_RANGE)
    one, two, three = (image[0].numpy() for image in (fused, reference, other))
    expected = sum(
        skimage.metrics.structural_similarity(one, source, data_range=2.0)
        for source in (two, three)
    )
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_a_slice_scores_the_same_alone_and_in_a_batch():
    batch = [noise_slices(seed, count=11) for seed in (1, 2, 3)]
    together = metrics.all_metrics(*batch)
    alone = metrics.all_metrics(*(images[9:10] for images in batch))
    for name in metrics.METRIC_CARDS:
        assert together[name].shape == (11,)
        assert together[name][9].item() == pytest.approx(alone[name].item(), rel=1e-12)


def test_swapping_the_sources_changes_no_metric():
    fused, reference, other = (noise_slices(seed) for seed in (1, 2, 3))
    one = metrics.all_metrics(fused, reference, other)
    two = metrics.all_metrics(fused, other, reference)
    for name in metrics.METRIC_CARDS:
        assert one[name].item() == pytest.approx(two[name].item(), rel=1e-12)


def test_visual_information_of_a_copy_is_one_and_of_noise_is_nearly_none():
    source = noise_slices(1)
    noise = (255 * torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(5))).double()
    assert metrics.visual_information_kept(source, source).item() == pytest.approx(1)
    assert metrics.visual_information_kept(source, noise).item() < 0.05


def test_black_sources_have_all_their_visual_information_kept():
    black = torch.zeros(1, 64, 64, dtype=torch.float64)
    assert metrics.visual_information_kept(black, noise_slices(1)).item() == 1


def test_slices_too_small_for_a_window_have_no_value_instead_of_a_wrong_one():
    tiny = [noise_slices(seed, side=40) for seed in (1, 2, 3)]
    values = metrics.all_metrics(*tiny)
    assert math.isnan(values["VIF"].item())
    assert math.isfinite(values["SSIM"].item())


@pytest.mark.parametrize(
    ("fused", "other", "words"),
    [
        (torch.zeros(1, 8, 8), torch.zeros(1, 8, 9), "one shape"),
        (torch.zeros(8, 8), torch.zeros(8, 8), "(N, H, W)"),
        (torch.full((1, 8, 8), math.nan), torch.zeros(1, 8, 8), "finite"),
    ],
)
def test_input_that_cannot_be_scored_is_refused_with_a_sentence(fused, other, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        metrics.all_metrics(fused, fused, other)


def test_every_metric_states_its_range_direction_and_weakness():
    functions = {**metrics.METRICS_OF_FUSED, **metrics.METRICS_OF_PAIR}
    for name, card in metrics.METRIC_CARDS.items():
        docstring = functions[name].__doc__
        direction = "higher" if card.higher_is_better else "lower"
        assert direction in docstring and card.value_range
        assert ("COPYING" in docstring) == (card.raised_by == "copying")
        assert ("noise raise" in docstring) == (card.raised_by == "noise")


def test_numpy_gradient_gives_the_same_average_gradient():
    image = noise_slices(4)
    rows, columns = np.gradient(image[0].numpy())
    expected = np.sqrt((rows**2 + columns**2) / 2).mean()
    assert metrics.average_gradient(image).item() == pytest.approx(expected, rel=1e-12)
