"""Ctrl-C while torch is being imported, which aborts a process that does not hold it back."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from MedFusionLib.volumes.files import write_volume
from MedFusionLib.volumes.volume import Volume

INTERRUPTED = 130

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/maps").exists(), reason="needs Linux's list of loaded libraries"
)


def wait_for_torch(child: subprocess.Popen[str]) -> None:
    """Until the child has begun to load torch's libraries."""
    maps = Path(f"/proc/{child.pid}/maps")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and child.poll() is None:
        if "libtorch" in maps.read_text(encoding="utf-8"):
            return
        time.sleep(0.01)
    raise AssertionError("torch was never imported")


@pytest.mark.parametrize("command", ["batch", "demo"])
def test_ctrl_c_during_torchs_import_ends_the_command_and_leaves_no_volume(command, tmp_path):
    grey = Volume(np.ones((4, 40, 40), np.int16), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    write_volume(grey, tmp_path / "grey.nrrd")
    (tmp_path / "cases.csv").write_text("case,reference,other\none,grey.nrrd,grey.nrrd\n")
    table = [str(tmp_path / "cases.csv")] if command == "batch" else []
    child = subprocess.Popen(
        [sys.executable, "-m", "MedFusionLib.cli", command, *table, "-o", str(tmp_path / "out")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs, this test run perhaps, deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for_torch(child)
    child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=120)
    assert child.returncode == INTERRUPTED, told
    assert not list(tmp_path.glob("out/*.nrrd"))
