"""Windows, colour maps and YCbCr."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from MedFusionLib.errors import InputError
from MedFusionLib.slices import colour
from MedFusionLib.slices.intensity import choose_window
from MedFusionLib.volumes.volume import Volume


def volume(voxels, modality="unknown"):
    return Volume(np.asarray(voxels), (1, 1, 1), (0, 0, 0), modality=modality)


HOUNSFIELD = volume(np.linspace(-1024, 3000, 1000).reshape(10, 10, 10).astype(np.int16), "CT")


@pytest.mark.parametrize(("name", "low", "high"), [("brain", 0, 80), ("bone", -600, 1400)])
def test_ct_presets_span_level_and_width(name, low, high):
    window = choose_window(HOUNSFIELD, name)
    assert (window.low, window.high) == (low, high)


def test_ct_shows_its_full_range_from_air_on_by_default():
    window = choose_window(HOUNSFIELD)
    assert (window.low, window.high) == (-1000, 3000)


def test_eight_bit_voxels_are_taken_as_they_are():
    eight_bit = volume(np.arange(1000).reshape(10, 10, 10) % 200, "MR").voxels.astype(np.uint8)
    unit = choose_window(volume(eight_bit, "MR")).to_unit(eight_bit)
    assert np.array_equal(np.rint(unit * 255), eight_bit)


def test_mr_percentiles_ignore_the_empty_surroundings():
    rng = np.random.default_rng(0)
    voxels = np.zeros((40, 40, 40), np.float32)
    voxels[10:30, 10:30, 10:30] = rng.uniform(100, 200, (20, 20, 20))
    window = choose_window(volume(voxels, "MR"))
    head = voxels[10:30, 10:30, 10:30]
    assert window.low == pytest.approx(np.percentile(head, 1), rel=1e-6)
    assert window.high == pytest.approx(np.percentile(head, 99.8), rel=1e-6)


def test_pet_goes_from_nothing_to_its_maximum():
    window = choose_window(volume(np.arange(1000.0).reshape(10, 10, 10), "PET"))
    assert (window.low, window.high) == (0, 999)


def test_a_given_window_wins_and_clips():
    window = choose_window(HOUNSFIELD, "0:80")
    assert window.to_unit(np.array([-5, 0, 20, 80, 900])).tolist() == [0, 0, 0.25, 1, 1]


@pytest.mark.parametrize("wrong", ["80:0", "5:5", "soft", "nan:3", "1:2:3"])
def test_a_window_that_is_none_is_refused(wrong):
    with pytest.raises(InputError, match="window"):
        choose_window(HOUNSFIELD, wrong)


def test_ycbcr_is_that_of_jpeg_as_pillow_computes_it():
    rgb = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(rgb).convert("YCbCr"), dtype=int)
    ours = colour.rgb_to_ycbcr(rgb / 255) * 255 + [0, 128, 128]
    # Pillow cuts the fraction off and works with 6 bits of it.
    assert np.abs(ours - expected).max() <= 1.02


def test_ycbcr_of_the_opencv_parity_crop_agrees_to_rounding(shared):
    stored = np.load(shared / "parity/color_handling.npz")
    keys = {key.lower(): key for key in stored.files}
    bgr = stored[next(keys[key] for key in keys if "bgr" in key and "out" not in key)]
    ycrcb = stored[next(keys[key] for key in keys if "ycrcb" in key)].astype(int)
    ours = colour.rgb_to_ycbcr(bgr[..., ::-1] / 255) * 255 + [0, 128, 128]
    assert np.abs(ours[..., [0, 2, 1]] - ycrcb).max() <= 1


def test_ycbcr_returns_to_the_rgb_it_came_from():
    rgb = np.random.default_rng(2).random((100, 3)).astype(np.float32)
    assert np.allclose(colour.ycbcr_to_rgb(colour.rgb_to_ycbcr(rgb)), rgb, atol=1e-6)


@pytest.mark.parametrize("name", colour.COLOUR_MAPS)
def test_every_colour_map_begins_with_black(name):
    assert colour.apply_colour_map(np.zeros(1), name).tolist() == [[0, 0, 0]]


def test_the_pet_dicom_map_is_slicers():
    slicer = pytest.importorskip("slicer")
    node = slicer.vtkMRMLPETProceduralColorNode()
    node.SetTypeToDICOM()
    for value in (0, 20, 63, 90, 128, 160, 192, 230, 255):
        expected = node.GetColorTransferFunction().GetColor(value)
        ours = colour.apply_colour_map(np.array([value / 255]), "pet-dicom")[0]
        assert np.allclose(ours, expected, atol=0.01)
