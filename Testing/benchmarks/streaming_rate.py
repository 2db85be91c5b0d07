"""How many slices per second reach a receiver of the stream at a tracked tip?

    python Testing/benchmarks/streaming_rate.py [FUSED.nrrd]

Tracker, ``medfusion stream`` and receiver are three processes on one machine. The tracker, by
pyigtl, sends a pose every 10 ms; the receiver, by pyigtl too, counts distinct slices. Without a
file, a color volume of 256×256×180 voxels is made.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from multiprocessing import Event, Process
from pathlib import Path

import numpy as np
import pyigtl

from MedFusionLib.streaming.tip_slices import axial_pose
from MedFusionLib.volumes.files import write_volume
from MedFusionLib.volumes.volume import Volume

TRACKER_PORT, SLICE_PORT = 18954, 18956
SECONDS = 10.0
POSES_PER_SECOND = 100


def track(ended) -> None:
    """A made tracker whose tip goes up and down, never twice at the same place."""
    server = pyigtl.OpenIGTLinkServer(port=TRACKER_PORT)
    number = 0
    while not ended.is_set():
        number += 1
        pose = axial_pose([0.0, 0.0, 40.0 * np.sin(number / 100)])
        server.send_message(pyigtl.TransformMessage(pose, device_name="Tip"), wait=False)
        time.sleep(1 / POSES_PER_SECOND)
    server.stop()


def count() -> tuple[int, float]:
    """Distinct slices that came, and over how many seconds."""
    client = pyigtl.OpenIGTLinkClient(port=SLICE_PORT)
    places, start = [], None
    while start is None or time.monotonic() - start < SECONDS:
        message = client.wait_for_message("MedFusion", timeout=30)
        if message is None:
            break
        start = start or time.monotonic()
        places.append(float(message.ijk_to_world_matrix[2, 3]))
    client.stop()
    return len(set(places)), SECONDS


def made_volume(folder: str) -> Path:
    """A colour volume as large as a head."""
    voxels = np.random.default_rng(1).integers(0, 255, (180, 256, 256, 3)).astype(np.uint8)
    path = Path(folder) / "fused.nrrd"
    write_volume(Volume(voxels, (0.9, 0.9, 1.0), (-115.0, -115.0, -90.0)), path)
    return path


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        volume = sys.argv[1] if len(sys.argv) > 1 else str(made_volume(folder))
        ended = Event()
        tracker = Process(target=track, args=(ended,))
        tracker.start()
        options = ["--tracker", f"localhost:{TRACKER_PORT}", "--tool", "Tip"]
        command = [sys.executable, "-m", "MedFusionLib.cli", "stream", volume, *options]
        streaming = subprocess.Popen([*command, "--port", str(SLICE_PORT)])
        slices, seconds = count()
        print(f"{slices} distinct slices in {seconds:.0f} s: {slices / seconds:.1f} per second")
        ended.set()
        streaming.terminate()
        streaming.wait()
        tracker.join()
