"""The worker through Qt's own process, as inside Slicer."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="needs slicer-core")
QtCore = pytest.importorskip("PySide6.QtCore", reason="needs PySide6")

from MedFusionLib.errors import MedFusionError  # noqa: E402
from MedFusionLib.slicer_app.running.child_process import QProcessChild  # noqa: E402
from MedFusionLib.slicer_app.running.worker_client import WorkerClient, workerCommand  # noqa: E402

SECONDS_TO_WAIT = 60.0


@pytest.fixture
def application(monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    spec = importlib.util.spec_from_file_location(
        "stand_ins", Path(__file__).with_name("stand_ins.py")
    )
    standIns = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(standIns)
    monkeypatch.setitem(sys.modules, "qt", standIns.qtModule())
    widgets = pytest.importorskip("PySide6.QtWidgets")
    return widgets.QApplication.instance() or widgets.QApplication([])


def ended(application, client):
    results, errors = [], []
    client.submit("describe", {}, onDone=results.append, onError=errors.append)
    end = time.monotonic() + SECONDS_TO_WAIT
    while not (results or errors) and time.monotonic() < end:
        application.processEvents()
        time.sleep(0.01)
    client.close()
    return results, errors


def test_the_worker_answers_through_qts_process(application):
    results, errors = ended(application, WorkerClient(QProcessChild, workerCommand()))
    assert errors == []
    assert "cpu" in [device["name"] for device in results[0]["devices"]]


@pytest.mark.parametrize("program", ["", "no such program"])
def test_a_program_that_cannot_be_started_is_told_at_once(application, program):
    """Qt tells of the empty one before ``start`` has returned, as of any on Windows."""
    begin = time.monotonic()
    results, errors = ended(application, WorkerClient(QProcessChild, [program, "-c", ""]))
    assert results == []
    assert isinstance(errors[0], MedFusionError)
    assert "could not be started" in str(errors[0])
    assert time.monotonic() - begin < SECONDS_TO_WAIT / 2
