"""Batches on a real Dask cluster, whose workers are killed on purpose."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest

from MedFusionLib.batch.cases import Case, run_cases
from MedFusionLib.batch.cluster import cluster_client, run_cases_on
from MedFusionLib.errors import InputError
from MedFusionLib.volumes.files import read_volume, write_volume
from MedFusionLib.volumes.volume import Volume

SETTINGS = {"method": "guided-filter", "modalities": ("MR", "CT")}


def head(seed, shape=(30, 160, 160)):
    voxels = np.random.default_rng(seed).uniform(1, 1000, shape).astype(np.float32)
    return Volume(voxels, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


@pytest.fixture
def cases(tmp_path):
    write_volume(head(0), tmp_path / "mr.nrrd")
    write_volume(head(1), tmp_path / "ct.nrrd")
    (tmp_path / "out").mkdir()
    return [Case(f"case{n}", tmp_path / "mr.nrrd", tmp_path / "ct.nrrd", None) for n in range(4)]


def kill_the_busy_worker(client, killed):
    """kill -9 the first worker that is seen working on a case."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        busy = [address for address, keys in client.processing().items() if keys]
        pids = client.run(os.getpid, workers=busy[:1])
        if pids:
            time.sleep(1.0)  # in the middle of the case, not before it
            pid = next(iter(pids.values()))
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            return
        time.sleep(0.1)


def test_no_case_is_lost_when_a_worker_is_killed_in_the_middle_of_one(cases, tmp_path):
    killed: list[int] = []
    bad = Case("bad", tmp_path / "missing.nrrd", tmp_path / "ct.nrrd", None)
    with cluster_client("local:2") as client:
        assert client.dashboard_link.startswith("http://127.0.0.1")
        client.wait_for_workers(2)
        killer = threading.Thread(target=kill_the_busy_worker, args=(client, killed))
        killer.start()
        outcomes = run_cases_on(
            client, [*cases, bad], tmp_path / "out", SETTINGS, False, lambda outcome: None
        )
        killer.join()
        # The same scheduler, reached by its address, finds all of it done.
        with cluster_client(client.scheduler.address) as remote:
            again = run_cases_on(
                remote, cases[:2], tmp_path / "out", SETTINGS, True, lambda outcome: None
            )
            once_more = run_cases_on(
                remote, cases[:1], tmp_path, SETTINGS, False, lambda outcome: None
            )
    assert [outcome.status for outcome in again + once_more] == ["skipped", "skipped", "done"]
    assert killed
    assert [outcome.status for outcome in outcomes] == ["done"] * 4 + ["failed"]
    assert "missing.nrrd" in outcomes[-1].error

    # The cluster's volumes are those of a plain loop.
    run_cases(cases[:1], tmp_path, SETTINGS, False, lambda outcome: None)
    expected = read_volume(tmp_path / "case0.nrrd").voxels
    for case in cases:
        assert np.array_equal(read_volume(tmp_path / "out" / f"{case.case}.nrrd").voxels, expected)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{case.case}.nrrd" for case in cases
    }


@pytest.mark.parametrize("where", ["local:0", "local:many", "slurm", "tcp://127.0.0.1:1"])
def test_a_cluster_that_is_not_there_is_refused_with_a_sentence(where, monkeypatch):
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
        pytest.raises(InputError, match=r"local:N|No Dask scheduler"),
        cluster_client(where),
    ):
        pass


def test_workers_keep_freed_memory_for_their_next_batch():
    with cluster_client("local:1") as client:
        settings = client.run(lambda: os.environ.get("MALLOC_TRIM_THRESHOLD_"))
    assert list(settings.values()) == [os.environ.get("MALLOC_TRIM_THRESHOLD_")]
