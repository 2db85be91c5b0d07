"""Do two volumes lie where they say? Asked of places that were made and are therefore known."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK

from MedFusionLib.errors import Cancelled, IdentityError, InputError
from MedFusionLib.registration.images import box_points, see_head
from MedFusionLib.registration.quick_check import quick_check
from MedFusionLib.registration.transforms import displacements
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.volume import Volume


@pytest.fixture(scope="module")
def sample(repository):
    """MR, PET, and the transform that takes points of the first to the second."""
    folder = repository / "MedFusionLib" / "sample_data"
    mr = read_volume(folder / "Sample_MR_T1.nrrd", "MR")
    pet = read_volume(folder / "Sample_FDG_PET.nrrd", "PET")
    return mr, pet, SimpleITK.ReadTransform(str(folder / "true_transform.tfm"))


def nudged(true, degrees, shift):
    """``true`` after a turn about the middle of the head and a shift."""
    nudge = SimpleITK.Euler3DTransform((0.0, 17.0, 22.0), *np.radians(degrees).tolist(), shift)
    return SimpleITK.CompositeTransform([true, nudge])


def distance(one, two, reference):
    points = box_points(see_head(reference, "reference").mask)
    return displacements(one, two, points).mean()


def test_volumes_on_their_true_place_lie_on_each_other(sample):
    mr, pet, true = sample
    checked = quick_check(mr, pet, true)
    assert checked.verdict == "lie on each other", checked
    assert checked.millimetres < 1.0
    assert "lie on each other" in checked.sentence


@pytest.mark.parametrize(
    "degrees, shift",
    [((0, 0, 0), (6.0, 4.0, -5.0)), ((7, -4, 3), (0.0, 0.0, 0.0)), ((15, 10, -12), (25, -20, 20))],
)
def test_shifted_volumes_are_told_with_their_distance(sample, degrees, shift):
    mr, pet, true = sample
    start = nudged(true, degrees, shift)
    checked = quick_check(mr, pet, start)
    assert checked.verdict == "shifted", checked
    assert checked.millimetres == pytest.approx(distance(start, true, mr), abs=1.0)
    assert f"{checked.millimetres:.0f} mm" in checked.sentence


def test_positions_as_filed_are_checked_in_both_directions(sample):
    """The sample pair is filed apart, by a known transform."""
    mr, pet, true = sample
    apart = distance(true, SimpleITK.Transform(3, SimpleITK.sitkIdentity), mr)
    for checked in (quick_check(mr, pet), quick_check(pet, mr)):
        assert checked.verdict == "shifted"
        assert checked.millimetres == pytest.approx(apart, abs=1.5)


def test_noise_cannot_be_told_and_volumes_without_a_head_are_refused(sample):
    mr, pet, true = sample
    noise = np.random.default_rng(0).normal(100, 10, pet.grid_shape).astype(np.float32)
    edge = np.zeros(pet.grid_shape, np.float32)
    edge[8:-8, 8:-8, 8:-8] = noise[8:-8, 8:-8, 8:-8]
    assert quick_check(mr, replace(pet, voxels=edge), true).verdict == "cannot tell"
    with pytest.raises(InputError, match="one value only"):
        quick_check(mr, replace(pet, voxels=np.zeros(pet.grid_shape, np.float32)), true)


def test_two_patients_are_never_told_to_lie_on_each_other(sample):
    mr, pet, true = sample
    one, two = (
        replace(volume, metadata={"patient_id": name, "patient_name": name})
        for volume, name in ((mr, "Doe^Jane"), (pet, "Roe^Richard"))
    )
    with pytest.raises(IdentityError, match="different patients"):
        quick_check(one, two, true)


def test_the_same_volumes_give_the_same_answer(sample):
    mr, pet, true = sample
    assert quick_check(mr, pet, true) == quick_check(mr, pet, true)


def test_a_large_pair_takes_a_few_seconds_of_processor_time(sample):
    """Two cores share it; the goal is 3 s on the clock for 256 voxels along each axis."""
    mr, pet, true = sample
    large = [enlarged(volume) for volume in (mr, pet)]
    begun = time.process_time()
    assert quick_check(*large, true).verdict == "lie on each other"
    assert time.process_time() - begun < 6.0


def enlarged(volume):
    """On 256 voxels along each axis."""
    from MedFusionLib.registration.overlap import resample

    extent = np.array(volume.grid_shape[::-1]) * volume.spacing
    empty = np.broadcast_to(np.uint8(0), (256, 256, 256))
    grid = Volume(empty, tuple((extent / 256).tolist()), volume.origin, volume.directions)
    return resample(volume, grid)


def test_a_cancelled_check_ends(sample):
    mr, pet, _ = sample
    with pytest.raises(Cancelled):
        quick_check(mr, pet, cancel=lambda: True)


def test_a_place_by_a_bending_transform_is_checked_as_it_lays_the_volume(sample):
    mr, pet, true = sample
    bent = SimpleITK.CompositeTransform([true, SimpleITK.BSplineTransform(3, 3)])
    assert quick_check(mr, pet, bent).verdict == "lie on each other"
