"""The volume measures on made cases whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import skimage.color
import torch

from MedFusionLib.evaluation import volume_measures


def random_stack(seed: int) -> torch.Tensor:
    return 255 * torch.rand(9, 20, 20, generator=torch.Generator().manual_seed(seed))


def with_square(row: int, column: int) -> torch.Tensor:
    """Four equal slices, black with a bright square of 10x10 pixels."""
    stack = torch.zeros(4, 64, 64)
    stack[:, row : row + 10, column : column + 10] = 200
    return stack


def test_a_fused_stack_equal_to_both_sources_has_no_added_flicker():
    stack = random_stack(1)
    assert volume_measures.flicker(stack, stack, stack) == pytest.approx(1)


@pytest.mark.parametrize("rule", [torch.maximum, torch.minimum, lambda a, b: (a + b) / 2])
def test_no_pointwise_rule_adds_flicker(rule):
    reference, other = random_stack(1), random_stack(2)
    assert volume_measures.flicker(rule(reference, other), reference, other) <= 1


def test_brightness_that_alternates_between_slices_is_flicker_of_known_size():
    # The source grows by 10 per slice; +-10 in turn make that 30, -10, 30, -10: a mean of 20.
    source = (10 * torch.arange(9.0))[:, None, None].expand(9, 20, 20)
    turns = torch.tensor([-10.0, 10.0] * 4 + [-10.0])[:, None, None]
    assert volume_measures.flicker(source + turns, source, source) == pytest.approx(2)


def test_a_single_slice_has_no_flicker_to_tell():
    stack = random_stack(1)[:1]
    assert math.isnan(volume_measures.flicker(stack, stack, stack))


def test_the_leak_is_the_energy_that_was_lit_in_the_background():
    sources = torch.zeros(2, 10, 10)
    sources[..., :5] = 100
    fused = sources.clone()
    fused[..., 5:] = 50
    # 50 squared over 50 squared plus 100 squared.
    assert volume_measures.background_leak(fused, sources, sources) == pytest.approx(0.2)
    assert volume_measures.background_leak(sources, sources, sources) == 0


def test_edges_of_the_sources_are_not_invented_and_an_added_square_is_half_of_two():
    reference, other = with_square(10, 10), torch.zeros(4, 64, 64)
    assert volume_measures.invented_edges(reference, reference, other) == 0
    fused = reference + with_square(40, 40)
    assert volume_measures.invented_edges(fused, reference, other) == pytest.approx(0.5)


@pytest.mark.parametrize(("shift", "invented"), [(1, False), (2, False), (8, True)])
def test_an_edge_may_move_by_two_pixels_but_not_by_many(shift, invented):
    source, moved = with_square(10, 10), with_square(10 + shift, 10)
    share = volume_measures.invented_edges(moved, source, torch.zeros_like(source))
    assert (share > 0) == invented


def test_noise_of_three_grey_values_is_no_edge():
    source = with_square(10, 10)
    noise = 3 * torch.randn(source.shape, generator=torch.Generator().manual_seed(3))
    assert volume_measures.invented_edges(source + noise, source, source) == 0


def test_hues_thirty_degrees_apart_have_an_error_of_thirty_degrees():
    angles = np.radians([20, 110, 200, 290])

    def colours(turn):
        chroma = 0.1 * np.stack([np.cos(angles + turn), np.sin(angles + turn)], axis=-1)
        light = np.full((4, 1), 0.5)
        return torch.from_numpy(
            255 * skimage.color.ypbpr2rgb(np.concatenate([light, chroma], axis=1))
        )

    assert volume_measures.hue_error(colours(0.0), colours(0.0)) == pytest.approx(0, abs=1e-6)
    # scikit-image's matrix is rounded to a few digits, which turns a hue by hundredths of a degree.
    found = volume_measures.hue_error(colours(math.radians(30)), colours(0.0))
    assert found == pytest.approx(30, abs=0.1)


def test_grey_pixels_have_no_hue_and_so_no_error():
    grey = torch.full((5, 5, 3), 90.0)
    assert math.isnan(volume_measures.hue_error(grey, grey))


def test_entropy_inside_the_head_ignores_the_air_around_it():
    head = torch.zeros(1, 32, 32)
    head[:, :16, :16] = torch.arange(256.0).reshape(16, 16)
    source = (head > 0) * 100.0
    source[0, 0, 0] = 100
    assert volume_measures.entropy_inside_head(head, source, source) == pytest.approx(8)
