"""``medfusion align`` on real volumes, as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK

from MedFusionLib.registration.overlap import read_transform, resample
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.volume import same_grid

MEDFUSION = [sys.executable, "-m", "MedFusionLib.cli", "align"]


def run(*arguments):
    return subprocess.run([*MEDFUSION, *map(str, arguments)], capture_output=True, text=True)


def largest_distance(one, two, volume):
    """Largest distance in mm between two transforms over the corners of a volume."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(volume.grid_shape[::-1]) - 1)
    points = corners @ volume.affine_lps[:3, :3].T + volume.affine_lps[:3, 3]
    return max(
        np.linalg.norm(np.subtract(one.TransformPoint(point), two.TransformPoint(point)))
        for point in points.tolist()
    )


def test_the_sample_pair_is_laid_on_its_known_transform_and_written(tmp_path, repository):
    sample = repository / "MedFusionLib" / "sample_data"
    mr, pet = sample / "Sample_MR_T1.nrrd", sample / "Sample_FDG_PET.nrrd"
    output, transform, pictures = tmp_path / "a.nrrd", tmp_path / "a.tfm", tmp_path / "pictures"
    ran = run(
        mr, pet, "-o", output, "--transform-out", transform, "--pictures", pictures, "--json", "-q"
    )
    assert ran.returncode == 0 and ran.stderr == "", ran.stderr
    assert json.loads(ran.stdout)["quality"]["verdict"] == "pass"
    true = SimpleITK.ReadTransform(str(sample / "true_transform.tfm"))
    found = read_transform(transform)
    reference = read_volume(mr)
    assert largest_distance(found, true, reference) < 1.0
    written = read_volume(output)
    assert same_grid(written, reference)
    assert np.array_equal(written.voxels, resample(read_volume(pet), reference, found).voxels)
    assert len(list(pictures.glob("*.png"))) == 6


def test_a_brain_and_a_phantom_do_not_pass(tmp_path, shared):
    volumes = shared / "data" / "volumes"
    ran = run(
        volumes / "nibabel_someones_anatomy.nii.gz",
        volumes / "niivue_CT_pitch.nii.gz",
        *("-o", tmp_path / "out.nrrd", "--json", "--force", "-q"),
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["quality"]["verdict"] != "pass"


def test_a_failed_alignment_ends_with_code_2_one_sentence_and_no_file(tmp_path, shared):
    volumes = shared / "data" / "volumes"
    image = SimpleITK.ReadImage(str(volumes / "nibabel_someones_epi.nii.gz"))
    voxels = SimpleITK.GetArrayFromImage(image)[:, :, ::-1]
    flipped = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels))
    flipped.CopyInformation(image)
    SimpleITK.WriteImage(flipped, str(tmp_path / "flipped.nii.gz"))
    anatomy = volumes / "nibabel_someones_anatomy.nii.gz"
    (tmp_path / "out").mkdir()
    output, transform = tmp_path / "out" / "a.nrrd", tmp_path / "out" / "a.tfm"
    ran = run(
        anatomy, tmp_path / "flipped.nii.gz", "-o", output, "--transform-out", transform, "-q"
    )
    assert ran.returncode == 2
    assert "flipped left–right" in ran.stderr and "Traceback" not in ran.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "extra, words",
    [
        (("--kind", "elastic"), "no alignment 'elastic'"),
        (("--transform-out", "t.mat"), "no transform format"),
        (("--initial", "missing.tfm"), "no transform file"),
    ],
)
def test_bad_arguments_end_with_code_2_and_a_sentence(tmp_path, repository, extra, words):
    sample = repository / "MedFusionLib" / "sample_data" / "Sample_FDG_PET.nrrd"
    ran = run(sample, sample, "-o", tmp_path / "out.nrrd", *extra)
    assert ran.returncode == 2
    assert words in ran.stderr and "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []
