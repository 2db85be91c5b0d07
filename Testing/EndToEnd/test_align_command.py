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


def test_a_check_says_whether_volumes_lie_on_each_other_and_writes_nothing(tmp_path, repository):
    sample = repository / "MedFusionLib" / "sample_data"
    pair = sample / "Sample_MR_T1.nrrd", sample / "Sample_FDG_PET.nrrd"
    there = run(*pair, "--check", "--initial", sample / "true_transform.tfm", "--json", "-q")
    assert there.returncode == 0 and there.stderr == "", there.stderr
    assert json.loads(there.stdout)["verdict"] == "lie on each other"
    filed = run(*pair, "--check", "-o", tmp_path / "out.nrrd")
    assert filed.returncode == 0 and "shifted by about" in filed.stdout + filed.stderr
    assert list(tmp_path.iterdir()) == []


def test_landmarks_are_the_start_and_their_distance_is_reported(tmp_path, repository):
    """Points 2 mm beside their true places, on the sample pair whose transform is known."""
    sample = repository / "MedFusionLib" / "sample_data"
    true = SimpleITK.ReadTransform(str(sample / "true_transform.tfm"))
    points = [(0.0, -60.0, 20.0), (60.0, 20.0, 10.0), (-60.0, 20.0, 10.0), (0.0, 20.0, 80.0)]
    beside = [np.add(true.TransformPoint(point), (0.0, 2.0, 0.0)).tolist() for point in points]
    for name, listed in (("mr", points), ("pet", beside)):
        rows = [f"{i},{x},{y},{z},0,0,0,1,1,1,0,F-{i},," for i, (x, y, z) in enumerate(listed)]
        text = "\n".join(["# CoordinateSystem = LPS", *rows])
        (tmp_path / f"{name}.fcsv").write_text(text, encoding="utf-8")
    pair = sample / "Sample_MR_T1.nrrd", sample / "Sample_FDG_PET.nrrd"
    placed = "--landmarks", tmp_path / "mr.fcsv", tmp_path / "pet.fcsv"
    ran = run(*pair, *placed, "-o", tmp_path / "out.nrrd", "--json", "-q")
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["quality"]["verdict"] == "pass"
    assert report["quality"]["turned_degrees"] < 2.0
    assert report["landmarks"]["mean_mm"] == pytest.approx(2.0, abs=0.7)
    twice = run(*pair, *placed, "--initial", tmp_path / "t.tfm", "-o", tmp_path / "out.nrrd")
    assert twice.returncode == 2 and "two starts" in twice.stderr


@pytest.mark.parametrize(
    "rows, words",
    [
        (("0,-60,20", "60,20,10"), "needs 3 or more"),
        (("0,0,0", "10,0,0", "20,0,0", "30,0,0"), "on a line"),
        (None, "cannot be read"),
    ],
)
def test_useless_landmarks_end_with_code_2_one_sentence_and_no_file(
    tmp_path, repository, rows, words
):
    sample = repository / "MedFusionLib" / "sample_data"
    file, out = tmp_path / "points.fcsv", tmp_path / "out"
    out.mkdir()
    if rows is not None:
        file.write_text("\n".join(f"{i},{row}" for i, row in enumerate(rows)), encoding="utf-8")
    ran = run(
        sample / "Sample_MR_T1.nrrd", sample / "Sample_FDG_PET.nrrd", "--landmarks", file, file,
        "-o", out / "a.nrrd", "--transform-out", out / "a.tfm", "--pictures", out / "look",
    )  # fmt: skip
    assert ran.returncode == 2
    assert words in ran.stderr and len(ran.stderr.strip().splitlines()) == 1, ran.stderr
    assert list(out.iterdir()) == []


def test_an_alignment_without_a_place_to_write_is_refused(repository):
    sample = repository / "MedFusionLib" / "sample_data" / "Sample_FDG_PET.nrrd"
    ran = run(sample, sample)
    assert ran.returncode == 2 and "--output" in ran.stderr and "--check" in ran.stderr
