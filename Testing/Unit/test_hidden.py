"""What a fused volume hides, on volumes whose answer is known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from MedFusionLib import Volume, fuse, hidden
from MedFusionLib.slices import colour as colours

SHAPE = (20, 60, 50)
SPACING = (1.0, 1.2, 2.0)
WINDOWS = {"window": {"name": "given", "low": 0.0, "high": 1.0}}
REPORT = {"colour": "grey", "reference": WINDOWS, "other": WINDOWS}


def textures(count: int) -> np.ndarray:
    """Independent smooth volumes between 20 % and 80 % of the range; float32."""
    noise = np.random.default_rng(7).normal(size=(count, *SHAPE))
    smooth = np.stack([scipy.ndimage.gaussian_filter(one, (0.7, 1.5, 1.5)) for one in noise])
    low = smooth.min(axis=(1, 2, 3), keepdims=True)
    return (0.2 + 0.6 * (smooth - low) / np.ptp(smooth, axis=(1, 2, 3), keepdims=True)).astype("f4")


def volume(voxels: np.ndarray, modality: str = "unknown") -> Volume:
    return Volume(voxels, SPACING, (0.0, 0.0, 0.0), modality=modality)


def in_grey(unit: np.ndarray) -> Volume:
    return volume(np.rint(unit * 4095).astype(np.int16))


def measured(reference: np.ndarray, other: np.ndarray, fused: np.ndarray) -> hidden.Hidden:
    return hidden.hidden_contrast(
        volume(reference, "MR"), [volume(other, "PET")], in_grey(fused), REPORT
    )


def inner(one: Volume) -> np.ndarray:
    return one.voxels[3:-3, 6:-6, 6:-6]


def test_a_picture_that_is_the_reference_hides_all_of_the_other_and_nothing_of_itself():
    reference, other = textures(2)
    found = measured(reference, other, reference)
    assert inner(found.of_reference).max() <= 15
    # Two textures of a few grains in a window are never quite independent; the ridge is small.
    assert inner(found.of_other).min() >= 90
    assert found.worse.voxels.max() == found.of_other.voxels.max()
    assert found.sentence.startswith("100 % of the head hides more than 80 % of the PET's")


def test_the_average_hides_half_of_both_everywhere():
    reference, other = textures(2)
    found = measured(reference, other, (reference + other) / 2)
    for one in (found.of_reference, found.of_other):
        assert np.median(inner(one)) == pytest.approx(50, abs=2)
        assert inner(one).max() < 65
    assert found.shares == (0, 0)


def test_an_inverted_source_is_hidden_wholly():
    reference, other = textures(2)
    found = measured(reference, other, (reference + 1 - other) / 2)
    assert inner(found.of_other).min() == 100
    assert found.shares[1] == 1


def test_where_a_source_does_not_vary_there_is_nothing_to_hide():
    reference, _ = textures(2)
    found = measured(reference, np.full(SHAPE, 0.5, np.float32), reference)
    assert found.of_other.voxels.max() == 0


def test_outside_the_head_nothing_is_marked_or_counted():
    reference, other = textures(2)
    outside = np.zeros(SHAPE, bool)
    outside[:, :30] = True
    faint = np.where(outside, 0.03 * reference, reference), np.where(outside, 0, other)
    found = measured(*faint, 0 * reference)
    assert found.worse.voxels[:, :20].max() == 0
    # A mean over a Gaussian falls from 0.5 to 0.05 within 1.28 σ: 2.1 voxels of 1.2 mm.
    assert found.head_voxels == pytest.approx((30 + 2.1) / 60 * outside.size, rel=0.02)


def test_a_lesion_that_was_painted_over_is_marked_and_its_surroundings_are_not():
    reference, other = textures(2)
    places = np.indices(SHAPE) - np.array([10, 30, 25])[:, None, None, None]
    distance = np.sqrt((np.square(places) * np.square([[[[2]]], [[[1.2]]], [[[1]]]])).sum(axis=0))
    lesion = 0.3 * np.exp(-np.square(distance) / (2 * 3.0**2))
    fused = (reference + other) / 2
    near = distance < 7
    fused = np.where(near, reference, fused)
    found = measured(reference, np.clip(other + lesion, 0, 1), fused)
    marked = found.of_other.voxels > hidden.HIDDEN_PERCENT
    assert marked[distance < 3].all()
    assert not marked[distance > 16].any()


def test_the_areas_of_the_slices_add_up_to_the_volume_that_is_hidden():
    reference, other = textures(2)
    found = measured(
        reference, other, np.where(np.arange(SHAPE[0])[:, None, None] < 9, reference, other)
    )
    for role, one in (("reference", found.of_reference), ("other", found.of_other)):
        hidden_mm3 = np.count_nonzero(one.voxels > 80) * np.prod(SPACING)
        assert hidden_mm3 > 0
        for plane, between in (("axial", 2.0), ("coronal", 1.2), ("sagittal", 1.0)):
            areas = found.areas(plane)[role]
            assert len(areas) == SHAPE[["axial", "coronal", "sagittal"].index(plane)]
            assert sum(areas) * between == pytest.approx(hidden_mm3)
    axial = found.areas("axial")
    assert axial["other"][3] > 100 > axial["other"][-4]


def test_the_map_does_not_depend_on_how_the_volume_lies_in_memory():
    """The same head stored with its axes in another order and sense gives the same map."""
    reference, other = textures(2)
    fused = np.maximum(reference, other)
    expected = measured(reference, other, fused).worse.voxels
    turned = [
        Volume(
            np.ascontiguousarray(one.transpose(2, 0, 1)[:, ::-1]),
            (SPACING[1], SPACING[2], SPACING[0]),
            (0.0, 0.0, 2.0 * (SHAPE[0] - 1)),
            (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
        )
        for one in (reference, other, np.rint(fused * 4095).astype(np.int16))
    ]
    found = hidden.hidden_contrast(turned[0], turned[1:2], turned[2], REPORT).worse.voxels
    back = found[:, ::-1].transpose(1, 2, 0)
    assert np.abs(back.astype(int) - expected).max() <= 1


def test_slabs_make_no_seams(monkeypatch):
    reference, other = textures(2)
    fused = np.maximum(reference, other)
    whole = measured(reference, other, fused).worse.voxels
    monkeypatch.setattr(hidden, "SLAB_VOXELS", 3 * SHAPE[1] * SHAPE[2])
    slabs = measured(reference, other, fused).worse.voxels
    assert np.abs(whole.astype(int) - slabs).max() <= 1


def test_a_volume_of_thick_slices_is_measured_within_them():
    reference, other = (Volume(one[:4], (0.5, 0.5, 6.0), (0.0, 0.0, 0.0)) for one in textures(2))
    found = hidden.hidden_contrast(reference, [other], in_grey(reference.voxels), REPORT)
    assert np.median(found.of_other.voxels) == 100


def colour_report(name: str) -> dict:
    return REPORT | {"colour": name}


def test_in_colours_a_picture_of_the_other_alone_hides_the_reference_and_the_reverse():
    reference, other = textures(2)
    shown = np.rint(colours.apply_colour_map(other, "hot") * 255).astype(np.uint8)
    grey = np.repeat(np.rint(reference * 255).astype(np.uint8)[..., None], 3, axis=3)
    for picture, (least, most) in ((shown, (80, 0)), (grey, (0, 80))):
        found = hidden.hidden_contrast(
            volume(reference), [volume(other)], volume(picture), colour_report("hot")
        )
        assert np.median(inner(found.of_reference)) >= least
        assert np.median(inner(found.of_other)) >= most
        assert np.median(inner(found.of_reference if most else found.of_other)) <= 10


def test_an_empty_head_has_a_sentence_of_its_own():
    empty = np.zeros(SHAPE, np.float32)
    found = measured(empty, empty, empty)
    assert found.figures["hidden_share"] == {"reference": None, "other": None}
    assert "nothing to hide" in found.sentence


def test_a_fusion_result_knows_what_it_hides():
    reference, other = textures(2)
    result = fuse(volume(reference, "MR"), volume(other, "CT"), "average", device="cpu")
    assert "hidden" not in result.report
    assert result.hidden.shares == (0, 0)
    assert result.hidden is result.hidden
    assert result.hidden.of_other.grid_shape == result.volume.grid_shape
