"""The worker process and its client against each other, with real child processes."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import SimpleITK as sitk

from MedFusionLib.errors import Cancelled, GeometryError, InputError
from MedFusionLib.fusion import fuse
from MedFusionLib.slicer_app.running.child_process import SubprocessChild
from MedFusionLib.slicer_app.running.worker_client import WorkerClient, WorkerError, workerCommand
from MedFusionLib.version import __version__
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.volume import Volume
from MedFusionLib.worker.__main__ import Worker, without_options
from MedFusionLib.worker.protocol import save_volume, volume_message
from MedFusionLib.worker.tasks import Tasks

MISBEHAVING = Path(__file__).with_name("misbehaving_worker.py")


def volume(
    seed: int = 0, modality: str = "unknown", spacing: float = 1.0, slices: int = 12
) -> Volume:
    voxels = np.random.default_rng(seed).integers(0, 1000, (12, 20, 24)).astype(np.int16)
    return Volume(voxels, (1.0, 1.0, 2.0), (5.0, -7.0, 9.0), modality=modality)


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """An empty folder for temporary files, which must be empty again after each test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


@pytest.fixture
def client(temporary):
    client = WorkerClient(SubprocessChild, workerCommand())
    yield client
    client.close()
    assert list(temporary.iterdir()) == []


@pytest.fixture
def badClient(temporary):
    client = WorkerClient(SubprocessChild, [sys.executable, str(MISBEHAVING)])
    yield client
    client.close()
    assert list(temporary.iterdir()) == []


class Found:
    """A transform that needs no steps to be found."""

    def __init__(self, value):
        self.value = value

    def steps(self):
        return iter(())


def submit(client, method="average", **more):
    volumes = {"reference": volume(0), "other": volume(1, "CT")}
    options = {"method": method, "device": "cpu", **more.pop("options", {})}
    if method in ("prints", "hangs", "leaves-a-child", "aborts", "slow", "out-of-memory", "defect"):
        options["method_options"] = {"act": method}
    return client.submit("fuse", volumes, options=options, **more)


def gone(processId: int) -> bool:
    """Whether a process has ended, within 5 s."""
    for _ in range(100):
        try:
            if psutil.Process(processId).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def pump(client, condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        client.processEvents(0.02)
    assert condition()


def test_the_worker_fuses_as_the_library_does(client):
    result = client.wait(submit(client))
    expected = fuse(volume(0), volume(1, "CT"), method="average", device="cpu")
    np.testing.assert_array_equal(result["volume"].voxels, expected.volume.voxels)
    assert result["volume"].spacing == (1.0, 1.0, 2.0)
    assert result["report"]["method"] == "average"
    assert result["report"]["slices"] == 12


def a_third(tmp_path: Path, **settings) -> dict:
    """A SPECT volume beside the two of ``two``, as a request lists it."""
    return {"volume": save_volume(volume(2, "SPECT"), tmp_path, "third.npy"), **settings}


def two(tmp_path: Path) -> dict:
    return {
        "id": 1,
        "do": "fuse",
        "reference": save_volume(volume(0, "MR"), tmp_path, "reference.npy"),
        "other": save_volume(volume(1, "CT"), tmp_path, "other.npy"),
        "options": {"method": "pyramid", "device": "cpu", "window_other": "full"},
    }


def three_in_the_library(**settings):
    volumes = [volume(0, "MR"), volume(1, "CT"), volume(2, "SPECT")]
    return fuse(volumes, method="pyramid", device="cpu", **settings)


def run(folder: Path, request: dict) -> dict:
    return Tasks(folder).run(request, lambda *told: None, lambda: False)


def test_the_worker_fuses_three_volumes_as_the_library_does(tmp_path):
    further = [a_third(tmp_path, transform=None, window=[0, 600], colour="hot")]
    result = run(tmp_path, {**two(tmp_path), "further": further, "score": True})
    expected = three_in_the_library(window_other=["full", (0, 600)], colour=["auto", "hot"])
    fused = np.load(tmp_path / result["volume"]["file"])
    np.testing.assert_array_equal(fused, expected.volume.voxels)
    assert result["report"]["hidden"] == expected.hidden.figures
    assert "metrics" not in result["report"], "they are defined for two sources"
    assert result["further_transforms"] == [None]


@pytest.mark.parametrize("do", ["fuse", "preview"])
def test_a_window_of_two_values_is_one_window(tmp_path, do):
    """As a view displays a volume: JSON knows no tuples, and of lists `fuse` takes one window for
    each volume."""
    request = {**two(tmp_path), "do": do, "point": [5.0, -7.0, 9.0 + 2.0 * 3]}
    request["options"]["window_other"] = [0.0, 600.0]
    shown = np.load(tmp_path / run(tmp_path, request)["volume"]["file"])
    volumes = [volume(0, "MR"), volume(1, "CT")]
    expected = fuse(volumes, method="pyramid", device="cpu", window_other=(0.0, 600.0)).volume
    place = slice(None) if do == "fuse" else slice(3, 4)
    np.testing.assert_array_equal(shown, expected.voxels[place])


def test_a_further_volume_is_laid_by_its_own_transform(tmp_path):
    shift = sitk.TranslationTransform(3, (2.0, 0.0, 4.0))
    sitk.WriteTransform(shift, str(tmp_path / "third.h5"))
    further = [a_third(tmp_path, transform="third.h5", alignment="resample")]
    result = run(tmp_path, {**two(tmp_path), "further": further})
    expected = three_in_the_library(
        alignment=["resample", shift], window_other=["full", None]
    ).volume.voxels
    np.testing.assert_array_equal(np.load(tmp_path / result["volume"]["file"]), expected)
    kept = sitk.ReadTransform(str(tmp_path / result["further_transforms"][0]))
    assert kept.TransformPoint((1.0, 1.0, 1.0)) == (3.0, 1.0, 5.0)


def test_a_registration_of_a_further_volume_starts_from_its_own_transform(tmp_path):
    """That it starts there shows in what is refused: a transform that bends space."""
    field = sitk.Image([4, 4, 4], sitk.sitkVectorFloat64, 3)
    bent = sitk.DisplacementFieldTransform(field)
    sitk.WriteTransform(bent, str(tmp_path / "third.h5"))
    further = [a_third(tmp_path, transform="third.h5", alignment="rigid")]
    with pytest.raises(InputError, match="linear"):
        run(tmp_path, {**two(tmp_path), "further": further})


def test_a_previewed_slice_of_three_volumes_equals_that_of_the_whole_fusion(tmp_path):
    request = {**two(tmp_path), "do": "preview", "further": [a_third(tmp_path)]}
    request["point"] = [5.0, -7.0, 9.0 + 2.0 * 3]
    result = run(tmp_path, request)
    expected = three_in_the_library(window_other=["full", None])
    layer = np.load(tmp_path / result["volume"]["file"])
    np.testing.assert_array_equal(layer[0], expected.volume.voxels[3])


def test_an_export_for_navigation_of_three_sources_is_refused(tmp_path):
    fused = three_in_the_library()
    request = {
        "id": 3,
        "do": "export_navigation",
        "volume": save_volume(fused.volume, tmp_path, "fused.npy"),
        "reference_metadata": {},
        "other_metadata": {},
        "other_place": None,
        "square_pixels": False,
        "report": fused.report,
        "folder": str(tmp_path / "export"),
    }
    with pytest.raises(InputError, match="fused from more"):
        run(tmp_path, request)
    assert not (tmp_path / "export").exists()


def test_one_process_serves_many_runs(client):
    first = client.wait(submit(client))
    processId = client.processId
    second = client.wait(submit(client))
    assert client.processId == processId
    np.testing.assert_array_equal(first["volume"].voxels, second["volume"].voxels)


def test_progress_counts_every_slice(client):
    seen = []
    client.wait(submit(client, onProgress=lambda done, total, message: seen.append((done, total))))
    assert seen == sorted(seen)
    assert seen[-1] == (12, 12)


def test_measuring_counts_its_slices_and_can_be_cancelled(tmp_path):
    request = {
        "id": 1,
        "do": "fuse",
        "reference": save_volume(volume(0), tmp_path, "reference.npy"),
        "other": save_volume(volume(1, "CT"), tmp_path, "other.npy"),
        "options": {"method": "average", "device": "cpu"},
        "score": True,
    }
    seen = []

    def progress(done, total, message):
        if message.startswith("Measuring"):
            seen.append((done, total))

    report = Tasks(tmp_path).run(request, progress, lambda: False)["report"]
    assert seen[0] == (0, 0)
    assert seen[-1] == (12, 12)
    assert report["seconds"]["measure"] > 0
    with pytest.raises(Cancelled):
        Tasks(tmp_path).run({**request, "id": 2}, progress, lambda: len(seen) > 3)
    assert seen[3:] == [(0, 0)]
    assert not (tmp_path / "fused-2.npy").exists()


def test_a_large_result_is_taken_in_steps_between_other_events(client):
    steps, others, results = [], [], []

    def receive(result):
        for step in range(3):
            # What waits meanwhile, as an interface does, has its turn after each step.
            client.submit("describe", {}, onDone=lambda found: others.append(len(steps)))
            steps.append(result["volume"].voxels[step])
            yield

    job = submit(client, receive=receive, onDone=results.append)
    client.wait(job)
    assert len(steps) == 3
    assert len(results) == 1
    pump(client, lambda: len(others) == 3)
    assert not list(client.folder.glob("fused-*"))


def test_a_run_can_be_cancelled_while_its_result_is_taken(client):
    errors, results = [], []

    def receive(result):
        while True:
            yield

    job = submit(client, receive=receive, onDone=results.append, onError=errors.append)
    pump(client, lambda: job.receiving)
    job.cancel()
    assert [type(error) for error in errors] == [Cancelled]
    assert not job.running
    processId = client.processId
    assert client.wait(submit(client))["report"]["slices"] == 12
    assert client.processId == processId
    assert results == []


def test_a_transform_reaches_the_worker_linear_or_not(client):
    shift = sitk.TranslationTransform(3, (2.0, 0.0, 0.0))
    field = sitk.TransformToDisplacementField(
        shift, sitk.sitkVectorFloat64, (40, 40, 40), (-20, -20, -5), (2.0, 2.0, 2.0)
    )
    fused = [
        client.wait(submit(client, transform=Found(transform)))["volume"].voxels
        for transform in (shift, sitk.DisplacementFieldTransform(field))
    ]
    expected = fuse(
        volume(0), volume(1, "CT"), method="average", device="cpu", alignment=shift
    ).volume.voxels
    np.testing.assert_array_equal(fused[0], expected)
    assert np.abs(fused[1].astype(int) - expected).max() <= 1


def on(points) -> list:
    """Points as a request holds them."""
    return [[str(number), list(point)] for number, point in enumerate(points, start=1)]


SPOTS = ((0.0, 30.0, 5.0), (25.0, 0.0, 0.0), (-25.0, 0.0, 0.0), (0.0, 0.0, 30.0))


def test_landmarks_are_measured_by_the_transform_that_was_used(client, tmp_path_factory):
    there = [(x + 2.0, y, z) for x, y, z in SPOTS]
    there[3] = (2.0, 3.0, 34.0)
    landmarks = {"reference": on(SPOTS), "other": on(there)}
    shift = sitk.TranslationTransform(3, (2.0, 0.0, 0.0))
    result = client.wait(submit(client, transform=Found(shift), landmarks=landmarks))
    told = result["report"]["landmarks"]
    assert [point["distance_mm"] for point in told["points"]] == pytest.approx([0, 0, 0, 5])
    assert (told["mean_mm"], told["largest_mm"]) == pytest.approx((1.25, 5.0))
    page = tmp_path_factory.mktemp("report") / "report.html"
    saved = {"report": result["report"], "path": str(page)}
    client.wait(client.submit("save_report", {}, **saved))
    assert "1.2 mm apart on average, 5.0 mm at most (1 0.0 mm" in page.read_text(encoding="utf-8")
    as_they_lie = client.wait(submit(client, landmarks=landmarks))["report"]["landmarks"]
    assert as_they_lie["points"][0]["distance_mm"] == pytest.approx(2.0)


def test_landmarks_with_the_same_labels_in_another_order_find_their_partners(client):
    landmarks = {"reference": on(SPOTS), "other": on(SPOTS)[::-1]}
    told = client.wait(submit(client, landmarks=landmarks))["report"]["landmarks"]
    assert told["largest_mm"] == pytest.approx(0.0)


def test_landmarks_that_fit_no_position_are_refused_with_the_sentence_of_the_library(client):
    for points, sentence in (
        (SPOTS[:2], "needs 3 or more"),
        ([(10.0 * n, 0.0, 0.0) for n in range(4)], "on a line"),
    ):
        job = submit(client, landmarks={"reference": on(points), "other": on(points)})
        with pytest.raises(InputError, match=sentence):
            client.wait(job)


def test_a_registration_over_a_transform_that_bends_space_is_refused_landmarks_or_not(client):
    field = sitk.TransformToDisplacementField(
        sitk.TranslationTransform(3, (2.0, 0.0, 0.0)), sitk.sitkVectorFloat64, (40, 40, 40)
    )
    bent = Found(sitk.DisplacementFieldTransform(field))
    landmarks = {"reference": on(SPOTS), "other": on(SPOTS)}
    for more in ({}, {"landmarks": landmarks}):
        job = submit(client, transform=bent, options={"alignment": "rigid"}, **more)
        with pytest.raises(InputError, match="bends space"):
            client.wait(job)


def test_a_run_whose_transform_is_still_being_found_is_cancelled_at_once(client):
    errors, steps = [], []

    class Endless(Found):
        def steps(self):
            while True:
                steps.append(1)
                yield

    job = submit(client, transform=Endless(None), onError=errors.append)
    pump(client, lambda: len(steps) > 5)
    job.cancel()
    pump(client, lambda: not job.running)
    assert [type(error) for error in errors] == [Cancelled]
    count = len(steps)
    assert client.wait(submit(client))["report"]["slices"] == 12
    assert len(steps) == count


def test_a_refusal_of_the_library_arrives_as_the_same_error(client):
    far = volume(1, "CT")
    far = Volume(far.voxels, far.spacing, (900.0, 0.0, 0.0), modality="CT")
    job = client.submit(
        "fuse", {"reference": volume(), "other": far}, options={"method": "average"}
    )
    with pytest.raises(GeometryError, match="do not overlap"):
        client.wait(job)
    assert client.wait(submit(client))["report"]["method"] == "average"


def test_an_unknown_window_is_refused_with_the_sentence_of_the_library(client):
    with pytest.raises(InputError, match="is not a window"):
        client.wait(submit(client, options={"window_reference": "wide"}))


def test_the_log_tells_what_was_asked_for_and_how_it_ended_without_names(client):
    named = replace(volume(1), metadata={"source": "DOE^JANE", "patient_name": "DOE^JANE"})
    options = {"method": "average", "device": "cpu"}
    client.wait(client.submit("fuse", {"reference": volume(), "other": named}, options=options))
    with pytest.raises(InputError):
        options = {"method": "average", "window_other": "no such"}
        client.wait(client.submit("fuse", {"reference": volume(), "other": named}, options=options))
    log = "\n".join(client.log)
    assert f"MedFusion {__version__}" in log
    assert "fuse 1: method average, device cpu" in log
    assert "fuse 1 done in" in log
    assert "fuse 2 ended: InputError" in log
    assert "DOE" not in log


def test_no_sentence_for_the_panel_names_an_option_of_the_command_line(client, repository):
    with pytest.raises(GeometryError, match=r"Let the other one be resampled, or choose volumes"):
        client.wait(
            client.submit(
                "fuse",
                {"reference": volume(), "other": replace(volume(1), spacing=(2.0, 2.0, 2.0))},
                options={"method": "average", "device": "cpu", "alignment": "none"},
            )
        )
    found = []
    for path in (repository / "MedFusionLib").rglob("*.py"):
        parts = path.relative_to(repository / "MedFusionLib").parts
        if parts[0] not in ("commands", "evaluation", "training", "cli.py", "batch"):
            found += [text for text in sentences(path) if re.search(r"--[a-z]", text)]
    assert len(found) > 10, "or the search finds nothing"
    for text in found:
        assert not re.search(r"--[a-z]", without_options(text)), text


def sentences(path: Path) -> list[str]:
    """All texts of a file with more than one word that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = [
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)
    ]  # docstrings and notes below a name
    joined = {
        id(part): node
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node not in documented
        and id(node) not in joined
    ]
    texts += [
        "".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
    ]
    return [text for text in texts if " " in text]


def test_the_exchange_folder_is_private_and_empties_itself(client, temporary):
    job = submit(client)
    (folder,) = temporary.iterdir()
    if os.name == "posix":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    client.wait(job)
    assert not [file for file in folder.iterdir() if file.name.startswith("fused")]


def test_a_volume_is_written_once_for_many_slices_of_a_preview(client, temporary):
    volumes = {"reference": volume(0), "other": volume(1, "CT")}
    whole = fuse(*volumes.values(), method="average", device="cpu").volume.voxels
    (folder, indices) = (None, [])
    for height in (9.0, 15.2, 31.0):
        job = client.submit(
            "preview",
            volumes,
            options={"method": "average", "device": "cpu"},
            point=[6.0, -5.0, height],
        )
        result = client.wait(job)
        indices.append(result["index"])
        np.testing.assert_array_equal(result["volume"].voxels[0], whole[result["index"]])
        assert result["volume"].origin[2] == pytest.approx(9.0 + 2.0 * result["index"])
        (folder,) = temporary.iterdir()
        assert len(list(folder.glob("input-*.npy"))) == 2
    assert indices == [0, 3, 11]


def test_a_preview_outside_the_reference_is_refused(client):
    volumes = {"reference": volume(0), "other": volume(1, "CT")}
    job = client.submit("preview", volumes, options={"method": "average"}, point=[6, -5, 50])
    with pytest.raises(GeometryError, match="outside the reference"):
        client.wait(job)


def test_the_worker_tells_its_devices(client):
    described = client.wait(client.submit("describe", {}))
    assert described["torch"]
    assert described["devices"][0] == {"name": "cpu", "label": "CPU"}


def test_what_libraries_print_goes_to_the_log_and_breaks_nothing(badClient):
    result = badClient.wait(submit(badClient, "prints"))
    assert result["report"]["slices"] == 12
    pump(badClient, lambda: any("a library greets" in line for line in badClient.log))


def test_cancel_stops_between_batches_and_keeps_the_process(badClient):
    job = submit(badClient, "slow", options={"batch_size": 1})
    seen = []
    job.onProgress = lambda done, total, message: seen.append(done)
    pump(badClient, lambda: seen)
    processId = badClient.processId
    job.cancel()
    with pytest.raises(Cancelled):
        badClient.wait(job)
    assert len(seen) < 12
    assert badClient.wait(submit(badClient))["report"]["slices"] == 12
    assert badClient.processId == processId


def test_a_run_that_does_not_answer_a_cancel_is_killed_after_two_seconds(badClient):
    job = submit(badClient, "hangs")
    pump(badClient, lambda: "hanging now" in badClient.log)
    processId = badClient.processId
    started = time.monotonic()
    job.cancel()
    with pytest.raises(Cancelled):
        badClient.wait(job)
    assert 1.9 < time.monotonic() - started < 10
    assert gone(processId)
    assert badClient.wait(submit(badClient))["report"]["slices"] == 12


def test_a_second_cancel_kills_at_once_with_all_children(badClient):
    job = submit(badClient, "leaves-a-child")
    pump(badClient, lambda: badClient.processId)
    worker = psutil.Process(badClient.processId)
    pump(badClient, worker.children)
    child = worker.children()[0].pid
    job.cancel()
    job.cancel()
    assert isinstance(job.error, Cancelled)
    assert gone(worker.pid)
    assert gone(child)


def test_a_crash_gives_one_sentence_and_the_next_run_works(badClient):
    errors = []
    job = submit(badClient, "aborts", onError=errors.append)
    with pytest.raises(WorkerError, match="ended unexpectedly"):
        badClient.wait(job)
    assert len(errors) == 1
    assert badClient.wait(submit(badClient))["report"]["slices"] == 12


def test_a_kill_by_the_system_is_told_as_lack_of_memory(badClient):
    job = submit(badClient, "hangs")
    pump(badClient, lambda: "hanging now" in badClient.log)
    os.kill(badClient.processId, signal.SIGKILL)
    with pytest.raises(WorkerError, match="memory ran out"):
        badClient.wait(job)


def test_running_out_of_memory_gives_a_sentence_and_keeps_the_process(badClient):
    with pytest.raises(Exception, match="memory"):
        badClient.wait(submit(badClient, "out-of-memory"))
    processId = badClient.processId
    assert badClient.wait(submit(badClient))["report"]["slices"] == 12
    assert badClient.processId == processId


def test_a_defect_is_named_and_its_traceback_goes_to_the_log(badClient):
    with pytest.raises(WorkerError, match="ZeroDivisionError"):
        badClient.wait(submit(badClient, "defect"))
    pump(badClient, lambda: any("divide_by_zero" in line for line in badClient.log))


@pytest.mark.parametrize(
    "answer",
    [
        "not json",
        '{"v": 2, "id": 1, "event": "result"}',
        '{"v": 1, "id": 1}',
        '{"v": 1, "id": 1, "event": "result", "volume": {"file": "../x.npy"}}',
        '{"v": 1, "id": 1, "event": "result", "volume": 3}',
    ],
)
def test_garbage_on_the_protocol_ends_the_process_with_a_sentence(temporary, answer):
    script = f"import time; print({answer!r}, flush=True); time.sleep(60)"
    client = WorkerClient(SubprocessChild, [sys.executable, "-c", script])
    job = submit(client)
    with pytest.raises(WorkerError, match="broken message"):
        client.wait(job)
    client.close()
    assert list(temporary.iterdir()) == []


def test_a_program_that_does_not_exist_gives_a_sentence(temporary):
    client = WorkerClient(SubprocessChild, [str(temporary / "no-python")])
    with pytest.raises(WorkerError, match="could not be started"):
        client.wait(submit(client))
    assert list(temporary.iterdir()) == []


def test_closing_in_mid_run_leaves_neither_process_nor_file(badClient, temporary):
    errors = []
    submit(badClient, "hangs", onError=errors.append)
    pump(badClient, lambda: "hanging now" in badClient.log)
    processId = badClient.processId
    badClient.close()
    assert [type(error) for error in errors] == [Cancelled]
    assert gone(processId)
    assert list(temporary.iterdir()) == []


def test_closing_before_the_worker_has_reported_leaves_nothing(client, temporary):
    # Other tests of this process may have left helpers of their own running.
    before = {child.pid for child in psutil.Process().children()}
    submit(client)
    (started,) = {child.pid for child in psutil.Process().children()} - before
    client.close()
    assert gone(started)
    assert list(temporary.iterdir()) == []


def test_a_worker_whose_client_dies_removes_the_folder_and_leaves(temporary):
    script = (
        "import sys, time\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import tempfile; tempfile.tempdir = sys.argv[2]\n"
        "from MedFusionLib.slicer_app.running.worker_client import WorkerClient, workerCommand\n"
        "from MedFusionLib.slicer_app.running.child_process import SubprocessChild\n"
        "client = WorkerClient(SubprocessChild, workerCommand())\n"
        "client.wait(client.submit('describe', {}))\n"
        "print(client.processId, flush=True)\n"
        "time.sleep(60)\n"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", script, str(root), str(temporary)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        assert len(list(temporary.iterdir())) == 1
        parent.kill()
    assert gone(worker)
    assert list(temporary.iterdir()) == []


def test_two_clients_do_not_disturb_each_other(client, temporary):
    second = WorkerClient(SubprocessChild, workerCommand())
    one, two = submit(client), submit(second, "maximum")
    a, b = client.wait(one)["volume"].voxels, second.wait(two)["volume"].voxels
    assert client.processId != second.processId
    second.close()
    assert not np.array_equal(a, b)
    assert client.wait(submit(client))["report"]["method"] == "average"


def test_jobs_handed_over_together_run_one_after_the_other(client):
    jobs = [submit(client, method) for method in ("average", "maximum", "average")]
    voxels = [client.wait(job)["volume"].voxels for job in jobs]
    np.testing.assert_array_equal(voxels[0], voxels[2])
    assert np.all(voxels[1] >= voxels[0])


def test_a_measured_run_reports_every_slice_and_its_page_can_be_saved(client, tmp_path_factory):
    report = client.wait(submit(client, score=True))["report"]
    assert all(len(values) == 12 for values in report["metrics"]["per_slice"].values())
    page = tmp_path_factory.mktemp("report") / "report.html"
    # What the panel adds after the run: the fusion is the same.
    report["quick_check"] = {"verdict": "lie on each other", "sentence": "They lie there."}
    report["registered_before"] = {"verdict": "pass", "reason": "It fits."}
    client.wait(client.submit("save_report", {}, report=report, path=str(page)))
    text = page.read_text(encoding="utf-8")
    assert "average" in text
    assert text.count("<img") == 12
    client.wait(submit(client, "maximum"))
    client.wait(client.submit("save_report", {}, report=report, path=str(page)))
    assert "<img" not in page.read_text(encoding="utf-8"), "pictures of another fusion"


def test_pictures_are_drawn_only_for_a_report_so_that_the_next_run_need_not_wait(
    tmp_path, monkeypatch
):
    from MedFusionLib.registration import pictures

    drawn, draw = [], pictures.quality_pictures
    monkeypatch.setattr(
        pictures, "quality_pictures", lambda *volumes: drawn.append(volumes) or draw(*volumes)
    )
    answers, page = io.BytesIO(), tmp_path / "report.html"
    worker = Worker(io.BytesIO(), answers, tmp_path)
    worker._answer(
        {
            "id": 1,
            "do": "fuse",
            "reference": volume_message(volume(), save(volume(), tmp_path, "a.npy")),
            "other": volume_message(volume(1), save(volume(1), tmp_path, "b.npy")),
            "options": {"method": "average", "device": "cpu"},
        }
    )
    assert drawn == []
    report = json.loads(answers.getvalue().splitlines()[-1])["report"]
    for number in (2, 3):
        worker._answer({"id": number, "do": "save_report", "report": report, "path": str(page)})
    assert len(drawn) == 1
    assert "<img" in page.read_text(encoding="utf-8")


def save(volume: Volume, folder: Path, name: str) -> str:
    np.save(folder / name, volume.voxels)
    return name


def test_dicom_for_navigation_is_exported_by_the_worker_or_refused_whole(client, tmp_path_factory):
    pytest.importorskip("pydicom", reason="needs pydicom")
    from dicom_phantom import write_series

    folder = tmp_path_factory.mktemp("navigation")
    write_series(folder / "mr", modality="MR")
    write_series(folder / "ct", edit=lambda image, _: setattr(image, "SeriesInstanceUID", "1.2.7"))
    reference, other = read_volume(folder / "mr"), read_volume(folder / "ct")
    options = {"method": "average", "device": "cpu"}
    job = client.submit("fuse", {"reference": reference, "other": other}, options=options)
    fused = client.wait(job)
    values = {
        "report": fused["report"],
        "reference_metadata": dict(reference.metadata),
        "other_metadata": dict(other.metadata),
        "square_pixels": True,
        "folder": str(folder / "out"),
    }
    elsewhere = {"affine": np.diag([9.0, 9.0, 9.0, 1.0]).tolist(), "shape": [4, 4, 4]}
    place = {"affine": other.affine_lps.tolist(), "shape": list(other.grid_shape)}
    with pytest.raises(GeometryError, match="other volume does not lie"):
        client.wait(
            client.submit(
                "export_navigation", {"volume": fused["volume"]}, other_place=elsewhere, **values
            )
        )
    assert not (folder / "out").exists()
    done = client.wait(
        client.submit("export_navigation", {"volume": fused["volume"]}, other_place=place, **values)
    )
    assert sorted(done["files"]) == sorted(str(path) for path in (folder / "out").rglob("*.dcm"))
    assert "one frame of reference" in done["notes"][0]


def test_a_derived_series_is_exported_by_the_worker(client, tmp_path_factory):
    pytest.importorskip("pydicom", reason="needs pydicom")
    fused = client.wait(submit(client))
    folder = tmp_path_factory.mktemp("dicom") / "series"
    job = client.submit(
        "export_dicom",
        {"volume": fused["volume"]},
        report=fused["report"],
        reference_metadata={},
        folder=str(folder),
    )
    assert client.wait(job)["files"] == [str(file) for file in sorted(folder.iterdir())]
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(reader.Execute()), fused["volume"].voxels)
