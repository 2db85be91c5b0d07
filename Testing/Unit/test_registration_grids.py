"""Registration of the sample pair, whose transform is known, on grids as scanners give them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK

from MedFusionLib.registration.align import align
from MedFusionLib.registration.overlap import resample
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.volume import Volume

MIDDLE = np.array([0.0, 17.0, 22.0])
"""About the middle of the head in the MR, LPS in mm."""
CORNERS = MIDDLE + 70.0 * (np.array(list(np.ndindex(2, 2, 2))) * 2 - 1)
TARGETS = [MIDDLE.tolist(), *CORNERS.tolist()]


@pytest.fixture(scope="module")
def sample(repository):
    """MR, PET, and the transform that takes points of the first to the second."""
    folder = repository / "MedFusionLib" / "sample_data"
    mr = read_volume(folder / "Sample_MR_T1.nrrd", "MR")
    pet = read_volume(folder / "Sample_FDG_PET.nrrd", "PET")
    return mr, pet, SimpleITK.ReadTransform(str(folder / "true_transform.tfm"))


def regridded(volume, middle, extent, spacing, angles=(0.0, 0.0, 0.0)):
    """The volume as scanned on another grid: ``extent`` in mm about ``middle``, turned."""
    directions = np.array(SimpleITK.Euler3DTransform((0, 0, 0), *angles).GetMatrix()).reshape(3, 3)
    size = np.ceil(np.array(extent) / spacing).astype(int)
    origin = middle - directions @ ((size - 1) * spacing / 2)
    empty = np.broadcast_to(np.uint8(0), tuple(size[::-1].tolist()))
    grid = Volume(empty, spacing, tuple(origin.tolist()), tuple(directions.ravel().tolist()))
    return resample(volume, grid)


def half_millimetre_voxels(mr, pet, there):
    """The part of both around the brain, 14 cm wide."""
    return (
        regridded(mr, MIDDLE, (140, 150, 120), (0.5, 0.5, 0.5)),
        regridded(pet, there, (140, 150, 120), (0.5, 0.5, 0.5)),
    )


def thick_slices(mr, pet, there):
    """5 mm apart in both, not cut in the same places."""
    return (
        regridded(mr, MIDDLE, (190, 230, 180), (1.0, 1.0, 5.0)),
        regridded(pet, np.add(there, [0.0, 0.0, 2.0]), (190, 230, 180), (2.5, 2.5, 5.0)),
    )


def half_a_head(mr, pet, there):
    """The PET ends below the middle of the brain."""
    return mr, regridded(pet, np.add(there, [0.0, 0.0, 45.0]), (200, 240, 90), (2.5, 2.5, 2.5))


def other_field_of_view(mr, pet, there):
    """The MR shows little more than the brain, off its middle; the PET has air all around."""
    return (
        regridded(mr, np.add(MIDDLE, [8.0, -6.0, 5.0]), (150, 160, 130), (1.0, 1.0, 1.2)),
        regridded(pet, np.add(there, [30.0, 20.0, -25.0]), (380, 400, 330), (2.5, 2.5, 2.5)),
    )


def oblique_grid(mr, pet, there):
    """Both turned, about different axes and against each other."""
    return (
        regridded(mr, MIDDLE, (210, 250, 200), (1.2, 1.2, 1.5), (0.35, -0.2, 0.15)),
        regridded(pet, there, (240, 260, 240), (2.0, 2.5, 3.0), (-0.2, 0.25, -0.3)),
    )


@pytest.mark.parametrize(
    "cut",
    [half_millimetre_voxels, thick_slices, half_a_head, other_field_of_view, oblique_grid],
)
def test_the_mean_target_error_stays_below_a_voxels_diagonal_with(cut, sample):
    mr, pet, true = sample
    reference, other = cut(mr, pet, np.array(true.TransformPoint(MIDDLE.tolist())))
    found = align(reference, other)
    errors = [
        np.linalg.norm(np.subtract(found.transform.TransformPoint(p), true.TransformPoint(p)))
        for p in TARGETS
    ]
    diagonal = max(np.linalg.norm(volume.spacing) for volume in (reference, other))
    assert np.mean(errors) <= diagonal, errors
    assert found.quality.verdict != "failed", found.quality.reason
    assert found.resampled.affine_lps.tolist() == reference.affine_lps.tolist()


def test_a_volume_that_is_filed_lying_on_its_side_is_found(sample):
    """Turned by 90° about x, where Euler's angles lock."""
    mr, pet, true = sample
    turn = SimpleITK.Euler3DTransform(MIDDLE.tolist(), np.pi / 2, 0.0, 0.0, (10.0, -20.0, 15.0))
    rotation = np.reshape(turn.GetMatrix(), (3, 3))
    directions = rotation @ np.reshape(pet.directions, (3, 3))
    origin = turn.TransformPoint(pet.origin)
    found = align(mr, replace(pet, origin=origin, directions=tuple(directions.ravel().tolist())))
    errors = [
        np.linalg.norm(
            np.subtract(
                found.transform.TransformPoint(p), turn.TransformPoint(true.TransformPoint(p))
            )
        )
        for p in TARGETS
    ]
    assert np.mean(errors) <= np.linalg.norm(pet.spacing), errors
    assert found.quality.verdict == "doubtful" and "turned by" in found.quality.reason
