"""DICOM folders on the command line, as a user types it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_phantom import Grid, head, worst, write_series

from MedFusionLib.volumes.files import read_volume


def run(*arguments):
    command = [sys.executable, "-m", "MedFusionLib.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def pair(tmp_path):
    """MR and CT of the same head, of two patients by their headers; the CT has two echoes."""
    write_series(tmp_path / "mr", modality="MR")
    for number, factor in enumerate((1.0, 0.4)):

        def edit(image, index, number=number):
            image.PatientID, image.EchoTime = "2", 4 + number

        write_series(
            tmp_path / "ct", Grid(), formula=lambda points, by=factor: by * head(points),
            first=100 * number, edit=edit,
        )  # fmt: skip
    return tmp_path / "mr", tmp_path / "ct"


def test_two_patients_are_refused_and_a_stack_is_picked_by_name(tmp_path, pair):
    wanted = ("--method", "average", "--series-b", "EchoTime=5", "-o", tmp_path / "out.nrrd")
    refused = run("fuse", *pair, *wanted)
    assert refused.returncode == 2
    assert "ID '1'" in refused.stderr and "ID '2'" in refused.stderr
    assert not (tmp_path / "out.nrrd").exists()
    forced = run("fuse", *pair, *wanted, "--force", "--aligned", tmp_path / "ct.nrrd")
    assert forced.returncode == 0, forced.stderr
    assert "different patients" in forced.stderr
    aligned = read_volume(tmp_path / "ct.nrrd")
    assert worst(aligned, lambda points: 0.4 * head(points)) < 0.51


@pytest.fixture
def one_patient(tmp_path):
    """MR and PET of one patient in two frames of reference, and what lays them on each other."""

    def edit(image, index):
        image.SeriesInstanceUID, image.FrameOfReferenceUID = "1.2.3.2", "1.2.3.5"

    transform = SimpleITK.TranslationTransform(3, (4.0, -3.0, 2.0))
    SimpleITK.WriteTransform(transform, str(tmp_path / "found.tfm"))
    write_series(tmp_path / "mr", modality="MR")
    formula = lambda points: head(points - (4.0, -3.0, 2.0))  # noqa: E731
    write_series(tmp_path / "pet", modality="PT", formula=formula, edit=edit)
    return tmp_path / "mr", tmp_path / "pet"


def test_a_fusion_for_navigation_is_one_folder_of_images_registration_and_blending(
    tmp_path, one_patient
):
    given = ("--method", "average", "--transform", tmp_path / "found.tfm", "--navigation")
    done = run("fuse", *one_patient, *given, "--square-pixels", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "blending.dcm", "colour", "fused", "registration.dcm"
    ]  # fmt: skip
    fused = read_volume(tmp_path / "out" / "fused")
    assert fused.spacing == (3.0, 3.0, 4.0), "the reference has 3.0 and 3.5 mm"
    registration = pydicom.dcmread(tmp_path / "out" / "registration.dcm")
    step = registration.RegistrationSequence[1].MatrixRegistrationSequence[0].MatrixSequence[0]
    matrix = np.array(step.FrameOfReferenceTransformationMatrix, float).reshape(4, 4)
    np.testing.assert_allclose(matrix[:3, 3], (-4.0, 3.0, -2.0), atol=1e-9)


def test_what_a_navigation_system_cannot_use_is_refused_before_the_work(
    tmp_path, one_patient, pair
):
    bent = SimpleITK.BSplineTransformInitializer(
        SimpleITK.Image(20, 20, 20, SimpleITK.sitkUInt8), [3] * 3
    )
    SimpleITK.WriteTransform(bent, str(tmp_path / "bent.tfm"))
    mr, pet = one_patient
    converted = run("fuse", mr, pet, "--method", "average", "--transform", tmp_path / "found.tfm",
                    "-o", tmp_path / "mr.nrrd", "--colour", "grey")  # fmt: skip
    assert converted.returncode == 0, converted.stderr
    cases = [
        ((mr, pet, "--navigation", "--transform", tmp_path / "bent.tfm"), "not linear"),
        ((tmp_path / "mr.nrrd", pet, "--navigation"), "Give the reference as DICOM"),
        ((*pair, "--series-b", "EchoTime=5", "--navigation", "--force"), "different patients"),
        ((mr, pet, "--square-pixels"), "--square-pixels is for DICOM"),
    ]
    for arguments, sentence in cases:
        refused = run("fuse", *arguments, "--method", "average", "-o", tmp_path / "out")
        assert refused.returncode == 2, refused.stderr
        assert sentence in refused.stderr and "Fusing" not in refused.stderr
        assert not (tmp_path / "out").exists()


def test_square_pixels_are_for_the_plain_series_too(tmp_path, one_patient):
    given = ("--method", "average", "--transform", tmp_path / "found.tfm", "--dicom")
    done = run("fuse", *one_patient, *given, "--square-pixels", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert read_volume(tmp_path / "out").spacing == (3.0, 3.0, 4.0)
