"""The quick look at two heads, against known displacements of the sample pair."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from MedFusionLib.errors import Cancelled, InputError
from MedFusionLib.registration.quick_check import ALIGNED, APART, quick_check
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.volume import Volume


@pytest.fixture(scope="module")
def sample(repository):
    folder = repository / "MedFusionLib" / "sample_data"
    mr, pet = (read_volume(folder / f"Sample_{name}.nrrd") for name in ("MR_T1", "FDG_PET"))
    return mr, pet, sitk.ReadTransform(str(folder / "true_transform.tfm"))


def displaced(true: sitk.Transform, *shift: float) -> sitk.Transform:
    return sitk.CompositeTransform([true, sitk.TranslationTransform(3, shift)])


def test_the_sample_pair_as_it_is_filed_is_told_to_lie_apart(sample):
    mr, pet, true = sample
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(mr.grid_shape[::-1]) - 1)
    points = np.column_stack([corners, np.ones(8)]) @ mr.affine_lps.T[:, :3]
    ways = [np.linalg.norm(np.array(true.TransformPoint(p.tolist())) - p) for p in points]
    found = quick_check(mr, pet)
    assert found.verdict == APART
    assert found.millimetres == pytest.approx(np.mean(ways), rel=0.3)
    assert f"about {found.millimetres:.0f} mm" in found.sentence


def test_the_sample_pair_in_its_true_place_is_told_to_lie_well(sample):
    mr, pet, true = sample
    assert quick_check(mr, pet, true).verdict == ALIGNED


@pytest.mark.parametrize("shift", [(12.0, 0.0, 0.0), (0.0, 15.0, 10.0)])
def test_a_shift_is_told_in_millimetres(sample, shift):
    mr, pet, true = sample
    found = quick_check(mr, pet, displaced(true, *shift))
    assert found.verdict == APART
    assert found.millimetres == pytest.approx(np.linalg.norm(shift), abs=2.0)


def test_a_shift_below_what_is_asked_about_is_no_reason_to_ask(sample):
    mr, pet, true = sample
    assert quick_check(mr, pet, displaced(true, 2.0, 0.0, 0.0)).verdict == ALIGNED


def test_a_look_can_be_given_up(sample):
    with pytest.raises(Cancelled):
        quick_check(*sample[:2], cancel=lambda: True)


def test_without_a_head_nothing_is_said():
    voxels = np.random.default_rng(1).integers(0, 9, (6, 6, 6)).astype(np.int16)
    nothing = Volume(voxels, (1.0,) * 3, (0.0,) * 3, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    with pytest.raises(InputError):
        quick_check(nothing, nothing)
