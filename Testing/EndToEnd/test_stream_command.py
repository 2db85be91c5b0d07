"""``medfusion stream`` as a user starts it: a tracker and a receiver by pyigtl, and Ctrl-C."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

pyigtl = pytest.importorskip("pyigtl", reason="needs the extra stream")

from MedFusionLib.streaming.tip_slices import axial_pose  # noqa: E402
from MedFusionLib.volumes.files import write_volume  # noqa: E402
from MedFusionLib.volumes.volume import Volume  # noqa: E402

MEDFUSION = [sys.executable, "-m", "MedFusionLib.cli", "stream"]
INTERRUPTED = 130


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def fused(tmp_path):
    """Each axial layer holds its own height in mm."""
    heights = np.arange(30, dtype=np.int16)[:, None, None]
    voxels = np.broadcast_to(heights, (30, 40, 50)).copy()
    write_volume(Volume(voxels, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), tmp_path / "fused.nrrd")
    return tmp_path / "fused.nrrd"


def test_the_slice_at_the_tip_reaches_a_receiver_until_ctrl_c(fused):
    tracker_port, port = free_port(), free_port()
    tracker = pyigtl.OpenIGTLinkServer(port=tracker_port)
    child = subprocess.Popen(
        [
            *(*MEDFUSION, str(fused), "--tracker", f"127.0.0.1:{tracker_port}"),
            *("--tool", "StylusTip", "--port", str(port), "--spacing", "0.5"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs, this test run perhaps, deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    receiver = pyigtl.OpenIGTLinkClient(port=port)
    try:
        for height in (7, 19):
            message = None
            end = time.monotonic() + 60
            while (message is None or not at(message, height)) and time.monotonic() < end:
                # To the right and the front of the patient, as RAS counts.
                pose = axial_pose([-25.0, -20.0, height])
                tracker.send_message(pyigtl.TransformMessage(pose, device_name="StylusTip"), False)
                message = receiver.wait_for_message("MedFusion", timeout=0.1)
            assert message.image[0, 127:129, 127:129].tolist() == [[height, height]] * 2
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=60)
    finally:
        child.kill()
        receiver.stop()
        tracker.stop()
    assert child.returncode == INTERRUPTED, told
    assert "Sending." in told
    assert "Research use only" in told


def at(message, height: float) -> bool:
    return bool(abs(message.ijk_to_world_matrix[2, 3] - height) < 1e-3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tracker", "here"], "is not an address"),
        (["--plane", "sagittal"], "There is no plane 'sagittal'"),
        (["--name", "Größe"], "not a device name"),
    ],
)
def test_what_cannot_be_streamed_is_said_in_a_sentence(fused, arguments, sentence):
    ran = subprocess.run(
        [*MEDFUSION, str(fused), *arguments], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 2
    assert sentence in ran.stderr
