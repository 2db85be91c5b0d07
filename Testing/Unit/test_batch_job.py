"""Many pairs of DICOM series through the real process."""

from __future__ import annotations

import csv
import os
import signal
import tempfile
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from dicom_study import RICHARD, uid, write_dicom

from MedFusionLib.errors import InputError
from MedFusionLib.fusion import fuse
from MedFusionLib.sample_data import OTHER, REFERENCE
from MedFusionLib.slicer_app.running.batch_job import BatchJob, PlannedCase
from MedFusionLib.slicer_app.running.child_process import SubprocessChild
from MedFusionLib.slicer_app.running.worker_client import WorkerClient, workerCommand
from MedFusionLib.volumes.dicom_series import read_files
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.modality import with_modality

SETTINGS = {"method": "average", "device": "cpu"}


def thinned(path):
    volume = read_volume(path)
    return replace(
        volume,
        voxels=volume.voxels[::3, ::3, ::3].copy(),
        spacing=tuple(3 * step for step in volume.spacing),
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, list[Path]]:
    """The files of each series: the sample pair, which lies 16 mm apart, in two patients' names."""
    root = tmp_path_factory.mktemp("series")
    mr, pet = thinned(REFERENCE), thinned(OTHER)
    onMr = replace(mr, voxels=mr.voxels[:, ::-1].copy()[:, ::-1].max() - mr.voxels)
    folders = {
        "mr": write_dicom(root / "mr", mr, "MR", "T1"),
        "pet": write_dicom(root / "pet", pet, "PT", "FDG", FrameOfReferenceUID=uid("other frame")),
        "pet of the same frame": write_dicom(root / "near", pet, "PT", "FDG"),
        "aligned ct": write_dicom(root / "ct", onMr, "CT", "CT"),
        "his ct": write_dicom(root / "his", onMr, "CT", "CT", **RICHARD),
    }
    return {name: sorted(folder.iterdir()) for name, folder in folders.items()}


class Batch:
    """A job and what it has told."""

    def __init__(self, client, folder, files, cases, overwrite=False):
        self._turns = deque()
        self.told, self.reports, self.outcomes, self.progress = [], [], None, []
        self.client = client
        self.job = BatchJob(
            client,
            self._turns.append,
            cases,
            folder,
            SETTINGS,
            files.__getitem__,
            overwrite,
            onCase=lambda index: None,
            onProgress=lambda *progress: self.progress.append(progress),
            onOutcome=self._onOutcome,
            onDone=lambda outcomes: setattr(self, "outcomes", outcomes),
        )

    def _onOutcome(self, index, outcome, report):
        self.told.append((index, outcome.status))
        self.reports.append(report)

    def pump(self, condition, seconds=100.0):
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            while self._turns:
                self._turns.popleft()()
            self.job._client.processEvents(0.02)
        assert condition()

    def run(self):
        self.job.start()
        self.pump(lambda: self.outcomes is not None)
        return self.outcomes


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    client = WorkerClient(SubprocessChild, workerCommand())
    yield client
    client.close()
    assert list(tmp_path.glob("medfusion-*")) == []


def case(name, reference, other, alignment="resample"):
    return PlannedCase(name, reference, other, alignment)


def written(folder):
    return sorted(path.name for path in folder.iterdir())


def test_each_case_is_done_kept_or_refused_with_its_reason(client, files, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "there.nrrd").write_text("an older one")
    cases = [
        case("there", "mr", "aligned ct"),
        case("apart", "mr", "pet of the same frame"),
        case("two-people", "mr", "his ct"),
        case("good", "mr", "aligned ct", "none"),
    ]
    batch = Batch(client, folder, files, cases)
    outcomes = batch.run()
    assert [one.status for one in outcomes] == ["skipped", "failed", "failed", "done"]
    assert "These heads do not lie on each other" in outcomes[1].error
    assert "name different patients" in outcomes[2].error
    assert "quick_check" not in batch.reports[3], "one grid: there was nothing to look at"
    assert written(folder) == ["good.nrrd", "summary.csv", "there.nrrd"]
    assert (folder / "there.nrrd").read_text() == "an older one"
    text = (folder / "summary.csv").read_text()
    assert [row["status"] for row in csv.DictReader(text.splitlines())] == [
        one.status for one in outcomes
    ]
    assert "DOE" not in text and "ROE" not in text
    assert not batch.job.running
    assert batch.job._client.processId is None, "the process is gone with the batch"

    volumes = [with_modality(read_files(files[name]), None, "") for name in ("mr", "aligned ct")]
    expected = fuse(*volumes, **SETTINGS).volume
    np.testing.assert_array_equal(read_volume(folder / "good.nrrd").voxels, expected.voxels)


def test_what_is_there_is_replaced_when_asked(client, files, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "there.nrrd").write_text("an older one")
    batch = Batch(
        client, folder, files, [case("there", "mr", "aligned ct", "none")], overwrite=True
    )
    assert [one.status for one in batch.run()] == ["done"]
    assert read_volume(folder / "there.nrrd").grid_shape == read_files(files["mr"]).grid_shape


def test_other_frames_of_reference_are_registered_and_the_verdict_is_told(client, files, tmp_path):
    batch = Batch(client, tmp_path / "new", files, [case("one", "mr", "pet", "rigid")])
    (outcome,) = batch.run()
    assert outcome.status == "done", outcome.error
    assert batch.reports[0]["registration"]["quality"]["verdict"] in ("pass", "doubtful")
    assert any(message == "Aligning the volumes" for *_, message in batch.progress)


def test_cancel_leaves_what_is_done_and_nothing_half(client, files, tmp_path):
    folder = tmp_path / "out"
    cases = [
        case("a", "mr", "aligned ct", "none"),
        case("b", "mr", "pet", "rigid"),
        case("c", "mr", "pet"),
    ]
    batch = Batch(client, folder, files, cases)
    batch.job.start()
    batch.pump(lambda: len(batch.told) == 1 and batch.progress and batch.progress[-1][0] == 1)
    batch.job.cancel()
    batch.pump(lambda: batch.outcomes is not None)
    assert [one.status for one in batch.outcomes] == ["done"]
    assert written(folder) == ["a.nrrd", "summary.csv"]


def test_a_killed_process_costs_one_case_only(client, files, tmp_path):
    folder = tmp_path / "out"
    cases = [case("a", "mr", "pet", "rigid"), case("b", "mr", "aligned ct", "none")]
    batch = Batch(client, folder, files, cases)
    batch.job.start()
    batch.pump(lambda: bool(batch.progress))
    os.kill(batch.job._client.processId, signal.SIGKILL)
    batch.pump(lambda: batch.outcomes is not None)
    assert [one.status for one in batch.outcomes] == ["failed", "done"]
    assert written(folder) == ["b.nrrd", "summary.csv"]


def test_a_batch_that_cannot_end_well_does_not_begin(client, files, tmp_path):
    (tmp_path / "file").write_text("")
    for folder, cases in (
        (tmp_path / "file", [case("a", "mr", "pet")]),
        (tmp_path / "no" / "such", [case("a", "mr", "pet")]),
        (tmp_path / "out", [case("a", "mr", "pet"), case("a", "mr", "aligned ct")]),
    ):
        with pytest.raises(InputError):
            Batch(client, folder, files, cases).job.start()
    assert not (tmp_path / "out").exists()


def test_a_stopped_batch_calls_nobody_any_more(client, files, tmp_path):
    batch = Batch(client, tmp_path / "out", files, [case("a", "mr", "pet", "rigid")])
    batch.job.start()
    batch.pump(lambda: bool(batch.progress))
    processId = batch.job._client.processId
    batch.job.end()
    batch.pump(lambda: True)
    time.sleep(0.2)
    assert batch.outcomes is None and batch.told == []
    assert not psutil.pid_exists(processId) or (
        psutil.Process(processId).status() == psutil.STATUS_ZOMBIE
    )
    assert written(tmp_path / "out") == []


def test_a_process_that_never_works_ends_the_batch(files, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client = WorkerClient(SubprocessChild, ["no-such-program"])
    cases = [case(name, "mr", "aligned ct") for name in "abcdef"]
    batch = Batch(client, tmp_path / "out", files, cases)
    outcomes = batch.run()
    assert [one.status for one in outcomes] == ["failed"] * 3
    assert batch.job.cancelled
    assert written(tmp_path / "out") == ["summary.csv"]
