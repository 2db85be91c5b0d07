"""Whole volumes through `fuse`: time and peak memory of each method, in child processes.

Started as a module, it measures one method and prints the figures as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from MedFusionLib.errors import Cancelled, InputError, MedFusionError

MODULE = "MedFusionLib.evaluation.speed.volumes"
SECONDS = 25.0
"""A method that takes longer is stopped after the batch that it is in."""


def parse_shape(text: str) -> tuple[int, int, int]:
    """(rows, columns, slices) of "512x512x300"."""
    sides = text.lower().split("x")
    if len(sides) != 3 or not all(side.isdigit() and int(side) > 1 for side in sides):
        raise InputError(f"'{text}' is no volume. Write it as 512x512x300 (rows, columns, slices).")
    return int(sides[0]), int(sides[1]), int(sides[2])


def run_volumes(
    methods: Sequence[str],
    shape: tuple[int, int, int],
    device: str,
    progress: Callable[[int, int, str], None],
) -> list[dict[str, Any]]:
    """One row per method; see `measure_volume`."""
    rows = []
    for number, method in enumerate(methods):
        rows.append(_child(method, shape, device))
        progress(number + 1, len(methods), "Measuring whole volumes")
    return rows


def _child(method: str, shape: tuple[int, int, int], device: str) -> dict[str, Any]:
    command = [sys.executable, "-m", MODULE, method, json.dumps(shape), device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise MedFusionError(f"A volume could not be fused with '{method}': {reason}")
    return json.loads(done.stdout)


def measure_volume(
    method: str, shape: tuple[int, int, int], device: str, limit: float = SECONDS
) -> dict[str, Any]:
    """Fuse an MR and a CT volume of int16 noise on one grid, stopping after ``limit`` seconds.

    Returns method, shape, device, `slices_done`, `seconds` (from the call to the last of these
    slices), `seconds_per_volume` (that, or, for a run that was stopped, what it took up to the
    first batch and the rest scaled to all slices) and `peak_bytes`: the process's memory beyond
    what it held before the volumes were made, sources and result of the whole volume included.
    """
    import torch

    from MedFusionLib.evaluation.speed.peak_memory import peak_beyond, start_memory
    from MedFusionLib.fusion import fuse

    start = start_memory(torch.device("cpu"))
    reference, other = _noise(0, "MR", shape), _noise(1, "CT", shape)
    clock = _Clock(limit)
    with suppress(Cancelled):
        fuse(
            reference,
            other,
            method,
            "none",
            device,
            progress=clock.tick,
            cancel=clock.is_over,
        )
    peak = peak_beyond(start, torch.device("cpu"))
    return {
        "method": method,
        "shape": list(shape),
        "device": device,
        "threads": torch.get_num_threads(),
        "slices_done": clock.done,
        "seconds": clock.seconds,
        "seconds_per_volume": clock.seconds_per_volume(shape[2]),
        # Pages of the result that were not written yet count as well.
        "peak_bytes": None if peak is None else peak + _unwritten(shape, clock.done),
    }


def _noise(seed: int, modality: str, shape: tuple[int, int, int]) -> Any:
    import numpy as np

    from MedFusionLib.volumes.volume import Volume

    rows, columns, slices = shape
    voxels = np.random.default_rng(seed).integers(0, 1000, (slices, rows, columns), np.int16)
    return Volume(voxels, (0.5, 0.5, 0.5), (0.0, 0.0, 0.0), modality=modality)


def _unwritten(shape: tuple[int, int, int], done: int) -> int:
    rows, columns, slices = shape
    return 2 * rows * columns * (slices - done)


class _Clock:
    """When which slice was done."""

    def __init__(self, limit: float) -> None:
        self._limit, self._started = limit, time.perf_counter()
        self._ticks: list[tuple[int, float]] = []

    def tick(self, done: int, total: int, message: str) -> None:
        self._ticks.append((done, time.perf_counter() - self._started))

    def is_over(self) -> bool:
        """Never before the second batch: it takes two to tell what a slice costs."""
        spent = time.perf_counter() - self._started
        return len(self._ticks) > 1 and spent > self._limit

    @property
    def done(self) -> int:
        return self._ticks[-1][0]

    @property
    def seconds(self) -> float:
        return self._ticks[-1][1]

    def seconds_per_volume(self, slices: int) -> float:
        """What is done once, up to the first batch, is not scaled."""
        first_done, first_seconds = self._ticks[0]
        if self.done == slices:
            return self.seconds
        per_slice = (self.seconds - first_seconds) / (self.done - first_done)
        return self.seconds + per_slice * (slices - self.done)


if __name__ == "__main__":
    print(json.dumps(measure_volume(sys.argv[1], tuple(json.loads(sys.argv[2])), sys.argv[3])))
