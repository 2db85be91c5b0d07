"""Colours of uptake on anatomy: hue and saturation survive, and tell the uptake."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.stats import spearmanr
from skimage import color

from MedFusionLib.fusion import fuse
from MedFusionLib.slices import colour
from MedFusionLib.volumes.volume import Volume

GROUNDS = (0.25, 0.5, 0.75)
"""Luminances of anatomy."""
PLACES = np.linspace(0, 1, 41, dtype=np.float32)


def samples(count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Luminances and colours from all over their ranges, and from their ends."""
    rng = np.random.default_rng(11)
    light, rgb = rng.random(count, np.float32), rng.random((count, 3), np.float32)
    light[::7], light[1::7] = 0, 1
    rgb[::5] = np.rint(rgb[::5])
    return light, rgb


def span(rgb: np.ndarray) -> np.ndarray:
    """Difference between the largest and the smallest channel: 0 for grey."""
    return np.ptp(rgb, axis=-1)


def on_anatomy(name: str, light: float) -> np.ndarray:
    """A whole colour map on anatomy of one luminance, as stored in 8 bits."""
    shown = colour.recolour(np.full(PLACES.shape, light), colour.apply_colour_map(PLACES, name))
    return np.rint(shown * 255) / 255


def differences(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """CIEDE2000 between RGB."""
    return color.deltaE_ciede2000(color.rgb2lab(one), color.rgb2lab(two))


def test_every_colour_keeps_its_hue_on_every_luminance():
    light, rgb = samples()
    result = colour.recolour(light, rgb)
    assert result.min() >= 0 and result.max() <= 1
    turn = color.rgb2hsv(result)[:, 0] - color.rgb2hsv(rgb)[:, 0]
    coloured = span(rgb) > 0.02
    assert np.abs((turn + 0.5) % 1 - 0.5)[coloured].max() < 1 / 360


def test_three_quarters_of_the_chrominance_stay_at_least_and_all_of_it_where_the_cube_has_room():
    light, rgb = samples()
    kept, own = span(colour.recolour(light, rgb)), span(rgb)
    assert (kept >= 0.75 * own - 1e-5).all()
    assert (kept <= own + 1e-5).all()
    shifted = rgb + (light - rgb @ [0.299, 0.587, 0.114])[:, None]
    room = (shifted.min(axis=1) >= 0) & (shifted.max(axis=1) <= 1)
    np.testing.assert_allclose(kept[room], own[room], atol=1e-5)


def test_the_luminance_is_the_nearest_one_that_has_such_a_colour():
    light, rgb = samples(400)
    # All colours of this hue with the least chrominance, the widest choice: more or less grey.
    least = rgb * 0.75
    shifts = np.linspace(-1, 1, 2001)[:, None]
    fits = (least.min(axis=1) + shifts >= 0) & (least.max(axis=1) + shifts <= 1)
    away = np.abs(least @ [0.299, 0.587, 0.114] + shifts - light)
    best = np.where(fits, away, np.inf).min(axis=0)
    ours = np.abs(colour.recolour(light, rgb) @ [0.299, 0.587, 0.114] - light)
    assert np.abs(ours - best).max() < 1.1e-3


def test_a_colour_on_its_own_luminance_stays_and_grey_takes_the_luminance_alone():
    light, rgb = samples()
    np.testing.assert_allclose(colour.recolour(colour.luminance(rgb), rgb), rgb, atol=1e-6)
    grey = np.repeat(rgb[:, :1], 3, axis=1)
    np.testing.assert_allclose(
        colour.recolour(light, grey), np.repeat(light[:, None], 3, axis=1), atol=1e-6
    )


def test_a_small_step_in_luminance_or_colour_makes_no_seam():
    light, rgb = samples()
    rng = np.random.default_rng(12)
    step = 1e-4
    lighter = np.clip(light + step, 0, 1)
    other = np.clip(rgb + rng.uniform(-step, step, rgb.shape).astype(np.float32), 0, 1)
    before = colour.recolour(light, rgb)
    assert np.abs(colour.recolour(lighter, rgb) - before).max() < 15 * step
    assert np.abs(colour.recolour(light, other) - before).max() < 30 * step


@pytest.mark.parametrize("method", ["maximum", "pyramid"])
def test_a_hot_spot_on_the_brightest_anatomy_stays_coloured_and_background_stays_black(method):
    _k, j, i = np.indices((2, 40, 40))
    away = np.hypot(j - 20, i - 20)
    anatomy = np.where(away < 15, 255 - 2 * away, 0).astype(np.uint8)
    uptake = np.where(away < 15, 60 + 170 * np.exp(-(away**2) / 30), 0).astype(np.uint8)
    one, two = (
        Volume(voxels, (1, 1, 1), (0, 0, 0), modality=modality)
        for voxels, modality in ((anatomy, "MR"), (uptake, "SPECT"))
    )
    fused = fuse(one, two, method, device="cpu").volume.voxels
    assert not fused[away >= 15].any()
    own = colour.apply_colour_map(uptake / np.float32(255), colour.FUNCTIONAL_MAP)
    hot = uptake > 150
    saturation = color.rgb2hsv(fused[hot] / 255)[:, 1]
    assert (span(fused[hot] / 255) > 0.75 * span(own[hot]) - 0.01).all()
    # In the brightest colours saturation is the span itself, in darker ones more.
    assert (saturation > 0.75 * span(own[hot]) - 0.01).all()
    assert saturation.min() > 0.29


def test_uptake_is_read_back_from_hue_and_saturation_on_any_anatomy():
    rng = np.random.default_rng(13)
    uptake, light = rng.random(30_000, np.float32), rng.random(30_000, np.float32)
    shown = colour.recolour(light, colour.apply_colour_map(uptake, colour.FUNCTIONAL_MAP))
    table = np.linspace(0, 1, 1024, dtype=np.float32)
    known = color.rgb2ycbcr(colour.apply_colour_map(table, colour.FUNCTIONAL_MAP))[:, 1:]
    _, nearest = cKDTree(known).query(color.rgb2ycbcr(np.rint(shown * 255) / 255)[:, 1:])
    for least in (0, 1 / 3, 2 / 3):
        here = (uptake > max(least, 5 / 255)) & (uptake <= least + 1 / 3)
        assert np.abs(table[nearest] - uptake)[here].mean() < 0.03
        assert spearmanr(table[nearest][here], uptake[here]).statistic > 0.985


def test_the_default_map_grows_lighter_throughout_and_has_a_hue_where_there_is_uptake():
    shades = colour.apply_colour_map(np.linspace(0, 1, 1024, dtype=np.float32), "rainforest")
    assert np.diff(color.rgb2lab(shades)[:, 0]).min() > -0.05
    assert span(shades)[256:].min() > 0.35


@pytest.mark.parametrize("light", GROUNDS)
@pytest.mark.parametrize("eyes", ["PROTAN", "DEUTAN", "TRITAN"])
def test_eyes_with_a_colour_deficiency_tell_uptake_from_none_and_from_other_uptake(eyes, light):
    simulate = pytest.importorskip("daltonlens.simulate")
    simulator, deficiency = simulate.Simulator_Machado2009(), simulate.Deficiency[eyes]
    bar = np.rint(on_anatomy(colour.FUNCTIONAL_MAP, light) * 255).astype(np.uint8)
    seen = simulator.simulate_cvd(bar[None], deficiency, severity=1.0)[0] / 255
    apart = differences(seen[:, None], seen[None])
    quarter = len(PLACES) // 4
    # 1 can just be seen side by side, 2.3 by most; on their own ground colours have no lightness.
    assert apart[0, quarter:].min() > 2.3
    steps = [apart[place, place + quarter :].min() for place in range(len(PLACES) - quarter)]
    assert min(steps) > 1


def test_the_default_map_is_cmashers_without_its_white_end():
    cmasher = pytest.importorskip("cmasher")
    theirs = np.asarray(cmasher.cm.rainforest.colors)
    entries = np.linspace(0, 1, len(theirs))
    expected = np.stack([np.interp(0.8 * PLACES, entries, c) for c in theirs.T], axis=-1)
    ours = colour.apply_colour_map(PLACES, "rainforest")
    assert np.abs(ours - expected).max() < 2 / 255
