"""DICOM folders on the command line, as a user types it."""

from __future__ import annotations

import subprocess
import sys

import pytest
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
