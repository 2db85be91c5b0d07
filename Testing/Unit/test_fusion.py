"""The whole way, on small made volumes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK

from MedFusionLib.errors import Cancelled, GeometryError, InputError, UnknownMethodError
from MedFusionLib.fusion import fuse
from MedFusionLib.volumes.volume import Volume

ROTATION = SimpleITK.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.4).GetMatrix()


def head(modality="MR", seed=0, dtype=np.float32, scale=1000) -> Volume:
    """A bright textured block in empty space, on an oblique anisotropic grid."""
    rng = np.random.default_rng(seed)
    voxels = np.zeros((12, 34, 30))
    voxels[2:10, 8:28, 6:24] = rng.uniform(0.2, 1.0, (8, 20, 18))
    voxels = (voxels * scale).astype(dtype)
    return Volume(voxels, (0.9, 1.1, 3.0), (5.5, -7.25, 11.0), ROTATION, modality)


def test_a_grey_result_is_int16_on_the_references_grid_bit_for_bit():
    reference = head()
    volume = fuse(reference, head("CT", 1), method="average").volume
    assert volume.voxels.dtype == np.int16
    assert volume.voxels.min() >= 0 and volume.voxels.max() <= 4095
    assert volume.grid_shape == reference.grid_shape
    assert volume.spacing == reference.spacing
    assert volume.origin == reference.origin
    assert volume.directions == reference.directions


@pytest.mark.parametrize("method", ["average", "maximum", "pyramid", "guided-filter"])
def test_the_background_of_both_sources_stays_exactly_zero(method):
    empty = head().voxels == 0
    assert (fuse(head(), head("PET", 1), method=method).volume.voxels[empty] == 0).all()


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_average_is_numpys_whatever_the_plane(plane):
    one, two = head(dtype=np.uint8, scale=255), head("CT", 1, np.uint8, 255)
    expected = np.rint((one.voxels / 255 + two.voxels / 255) / 2 * 4095)
    fused = fuse(one, two, method="average", plane=plane).volume.voxels
    assert np.abs(fused - expected).max() <= 1


def test_stored_in_another_array_order_the_same_volume_gives_the_same_result():
    reference, other = head(), head("CT", 1)
    expected = fuse(reference, other, method="pyramid").volume.voxels

    def turned(volume):
        directions = np.asarray(volume.directions).reshape(3, 3)[:, [2, 0, 1]]
        spacing = tuple(np.asarray(volume.spacing)[[2, 0, 1]])
        voxels = volume.voxels.transpose(1, 2, 0)
        return Volume(voxels, spacing, volume.origin, tuple(directions.ravel()), volume.modality)

    fused = fuse(turned(reference), turned(other), method="pyramid").volume.voxels
    assert np.array_equal(fused.transpose(2, 0, 1), expected)


@pytest.mark.parametrize("method", ["average", "maximum", "pyramid", "guided-filter"])
def test_the_batch_size_changes_not_a_bit(method):
    one = fuse(head(), head("CT", 1), method=method, batch_size=1).volume.voxels
    many = fuse(head(), head("CT", 1), method=method, batch_size=5).volume.voxels
    assert np.array_equal(one, many)


def test_a_pet_is_shown_in_colour_and_in_grey_when_asked():
    colour = fuse(head(), head("PET", 1), method="maximum").volume
    assert colour.voxels.dtype == np.uint8 and colour.is_colour
    grey = fuse(head(), head("PET", 1), method="maximum", colour="grey").volume
    assert grey.voxels.dtype == np.int16 and not grey.is_colour


def test_a_colour_volume_keeps_its_own_hue():
    green = head("PET", 1, np.uint8, 255)
    rgb = np.zeros((*green.grid_shape, 3), np.uint8)
    rgb[..., 1] = green.voxels
    other = Volume(rgb, green.spacing, green.origin, green.directions, "PET")
    fused = fuse(head(), other, method="maximum").volume.voxels.astype(int)
    coloured = rgb[..., 1] > 60
    red, middle, blue = (fused[..., channel][coloured] for channel in range(3))
    assert (middle >= red).all() and (np.abs(red - blue) <= 1).all()


def test_the_windows_come_from_the_volume_before_it_is_resampled():
    """A hot spot of one voxel is blurred by resampling; its window must not follow."""
    other = head("PET", 1)
    other.voxels[5, 15, 12] = 5000
    x, y, z = other.origin
    moved = Volume(other.voxels, other.spacing, (x + 0.4, y, z), other.directions, "PET")
    report = fuse(head(), moved, method="average").report
    assert report["other"]["window"] == {"name": "maximum", "low": 0.0, "high": 5000.0}


def test_the_report_is_plain_json_and_names_what_matters():
    report = json.loads(json.dumps(fuse(head(), head("CT", 1), method="average").report))
    assert report["method"] == "average" and report["device"] == "cpu"
    assert report["transform"]["matrix"] == np.eye(4).tolist()
    assert report["overlap"]["kind"] == "same grid"


def test_a_given_transform_is_used_and_reported():
    reference = head()
    transform = SimpleITK.TranslationTransform(3, (300.0, 0.0, 0.0))
    x, y, z = reference.origin
    away = Volume(
        head("CT", 1).voxels, reference.spacing, (x + 300, y, z), reference.directions, "CT"
    )
    with pytest.raises(GeometryError, match="do not overlap"):
        fuse(reference, away, method="maximum")
    fused = fuse(reference, away, method="maximum", alignment=transform)
    expected = fuse(reference, head("CT", 1), method="maximum").volume.voxels
    assert np.array_equal(fused.volume.voxels, expected)
    assert fused.report["transform"]["matrix"][0][3] == 300.0


def test_different_frames_of_reference_are_refused_unless_forced():
    def framed(volume, uid):
        return Volume(
            volume.voxels,
            volume.spacing,
            volume.origin,
            volume.directions,
            volume.modality,
            {"frame_of_reference_uid": uid},
        )

    one, two = framed(head(), "1.2"), framed(head("CT", 1), "1.3")
    with pytest.raises(GeometryError, match="frames of reference"):
        fuse(one, two, method="average")
    assert "frames of reference" in " ".join(
        fuse(one, two, method="average", force=True).report["warnings"]
    )


def test_every_warning_is_a_sentence():
    voxels = head().voxels.copy()
    voxels[0, 0, 0] = np.nan
    tilted = "The gantry was tilted: the series was resampled to an even grid of 3 mm."
    guess = {"modality_source": "guess", "modality_reason": "guessed from 't1' in the name"}
    told = {**guess, "warnings": tilted, "frame_of_reference_uid": "1.2"}
    x, y, z = head().origin
    one = Volume(voxels, head().spacing, (x, y, z), ROTATION, "MR", told)
    far = {**guess, "frame_of_reference_uid": "1.3"}
    two = Volume(head().voxels, head().spacing, (x, y, z + 30), ROTATION, "CT", far)
    options = {"force": True, "allow_nonfinite": True, "precision": "float16"}
    warnings = fuse(one, two, method="average", **options).report["warnings"]
    expected = (tilted, "NaN", "reference volume is not certain", "other volume is not", "frames")
    for part in (*expected, "smaller volume overlaps"):
        assert any(part in warning for warning in warnings), part
    for warning in warnings:
        assert warning[0].isupper() and warning.endswith("."), warning


def test_without_alignment_the_grids_must_be_equal():
    x, y, z = head().origin
    moved = Volume(head().voxels, head().spacing, (x + 1, y, z), ROTATION, "CT")
    with pytest.raises(GeometryError, match="different grids"):
        fuse(head(), moved, method="average", alignment="none")


def replaced(volume: Volume, voxels: np.ndarray) -> Volume:
    return Volume(voxels, volume.spacing, volume.origin, volume.directions, volume.modality)


def test_voxels_without_a_number_are_counted_and_replaced_only_when_allowed():
    broken = head("PET", 1).voxels.copy()
    broken[0, 0, :3] = [np.nan, np.inf, -np.inf]
    other = replaced(head("PET", 1), broken)
    with pytest.raises(InputError, match="3 in all"):
        fuse(head(), other, method="average")
    result = fuse(head(), other, method="average", allow_nonfinite=True)
    assert (result.volume.voxels[0, 0, :3] == 0).all()


@pytest.mark.parametrize(
    ("voxels", "words"),
    [
        (np.full((12, 34, 30), 7.0), "value 7"),
        (np.random.default_rng(0).integers(0, 5, (12, 34, 30)), "label map"),
        (np.zeros((12, 34, 30), complex), "complex"),
    ],
)
def test_what_cannot_be_fused_is_refused_with_a_sentence(voxels, words):
    with pytest.raises(InputError, match=words):
        fuse(head(), replaced(head("CT"), voxels), method="average")


def test_a_slice_is_no_volume():
    flat = Volume(np.random.default_rng(0).random((1, 9, 9)), (1, 1, 1), (0, 0, 0))
    with pytest.raises(InputError, match="single slice"):
        fuse(flat, flat, method="average")


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UnknownMethodError, match="pyramid"):
        fuse(head(), head("CT", 1), method="magic")
    with pytest.raises(InputError, match="rainbow"):
        fuse(head(), head("CT", 1), method="average", colour="pink")
    with pytest.raises(InputError, match="sagittal"):
        fuse(head(), head("CT", 1), method="average", plane="diagonal")


def test_progress_counts_up_to_all_slices_and_cancel_stops():
    told = []
    fuse(head(), head("CT", 1), method="average", progress=lambda done, total, _: told.append(done))
    assert told[-1] == 12 and told == sorted(told)
    with pytest.raises(Cancelled):
        fuse(head(), head("CT", 1), method="average", cancel=lambda: True)


def test_a_volume_of_16_bits_is_fused_within_four_times_its_inputs(tmp_path):
    """Peak memory beyond the two inputs, measured in a process of its own."""
    import subprocess
    import sys

    program = """
import resource, numpy as np, torch
from MedFusionLib.volumes.volume import Volume
from MedFusionLib.fusion import fuse
rng = np.random.default_rng(0)
def made(modality, x):
    voxels = rng.integers(0, 2000, (160, 384, 384), dtype=np.int16)
    return Volume(voxels, (0.5, 0.5, 1.0), (x, 0.0, 0.0), modality=modality)
small = Volume(np.arange(512.).reshape(8, 8, 8), (1, 1, 1), (0, 0, 0))
fuse(small, small, method="average")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
one, two = made("MR", 0.0), made("CT", 0.3)
fuse(one, two, method="maximum")
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print((after - before) / (one.voxels.nbytes + two.voxels.nbytes))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) <= 4.0
