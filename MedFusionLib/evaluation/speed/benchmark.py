"""The speed benchmark: every method, size, batch, device and precision in a child process."""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from MedFusionLib.errors import InputError, MedFusionError
from MedFusionLib.version import __version__

CHILD = (sys.executable, "-m", "MedFusionLib.evaluation.speed.child")
VOLUME_SLICES = 94
"""Slices of the volume that times are given for: 256x256x94."""


@dataclass(frozen=True)
class Setting:
    """What one child process measures."""

    method: str
    height: int
    width: int
    batch: int
    device: str
    precision: str
    repeats: int


def all_settings(
    methods: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    batches: Sequence[int],
    devices: Sequence[str],
    precisions: Sequence[str],
    repeats: int,
) -> list[Setting]:
    """Every combination, method by method."""
    return [
        Setting(method, *size, batch, device, precision, repeats)
        for method, size, batch, device, precision in product(
            methods, sizes, batches, devices, precisions
        )
    ]


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of "256x240", or of "256" for a square."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdigit() and int(side) > 1 for side in sides):
        raise InputError(f"'{text}' is no size. Write it as 256x256 (height x width, in pixels).")
    return int(sides[0]), int(sides[-1])


def run_benchmark(
    settings: Sequence[Setting], progress: Callable[[int, int, str], None]
) -> dict[str, Any]:
    """Measure each setting; see `summary` for the figures of a run."""
    runs = []
    for number, setting in enumerate(settings):
        runs.append(summary(_child("measure", setting)))
        progress(number + 1, len(settings), "Measuring")
    return {"version": __version__, "machine": machine(), "runs": runs}


def summary(measured: dict[str, Any]) -> dict[str, Any]:
    """Figures of a run for people: what a child measured, and what follows from it.

    `seconds_per_slice` is the median, with the quartiles beside it; `seconds_per_volume` is 94
    times that, for slices of 256x256 only; `share_of_matrix_speed` is the arithmetic done per
    second over that of a matrix product measured in the same process, for methods with any.
    """
    times = measured["seconds_per_slice"]
    median = statistics.median(times)
    low, _, high = statistics.quantiles(times, n=4, method="inclusive") if times[1:] else times * 3
    whole_size = (measured["height"], measured["width"]) == (256, 256)
    done = measured["flop_per_slice"] / median
    return {
        **measured,
        "seconds_per_slice": median,
        "seconds_per_slice_quartiles": [low, high],
        "slices_per_second": 1 / median,
        "seconds_per_volume": VOLUME_SLICES * median if whole_size else None,
        "share_of_matrix_speed": done / measured["matrix_flop_per_second"] if done else None,
    }


def run_against(command: str, setting: Setting) -> dict[str, Any]:
    """Time another command and ours in turn, as whole processes, and give the ratios.

    Ours starts Python, makes the method and fuses one batch. Each round runs both, so that what
    else the machine does falls on both; `ratio` is the median over the rounds of the command's
    wall time over ours, above 1 if ours is faster.
    Raises: InputError if the command cannot be started or fails.
    """
    arguments = shlex.split(command)
    if not arguments:
        raise InputError("The command of --against is empty.")
    ours = [*CHILD, "once", json.dumps(asdict(setting))]
    rounds = [(_seconds(arguments), _seconds(ours)) for _ in range(setting.repeats)]
    return {
        "command": command,
        "setting": asdict(setting),
        "command_seconds": [theirs for theirs, _ in rounds],
        "our_seconds": [own for _, own in rounds],
        "ratio": statistics.median(theirs / own for theirs, own in rounds),
    }


def _seconds(arguments: Sequence[str]) -> float:
    started = time.perf_counter()
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError(f"'{arguments[0]}' cannot be started: {error.strerror}.") from error
    if done.returncode:
        reason = _last_line(done.stderr) or f"exit code {done.returncode}"
        raise InputError(f"'{shlex.join(arguments)}' failed: {reason}")
    return time.perf_counter() - started


def _child(task: str, setting: Setting) -> dict[str, Any]:
    done = subprocess.run(
        [*CHILD, task, json.dumps(asdict(setting))], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MedFusionError(
            f"The method '{setting.method}' could not be measured: {_last_line(done.stderr)}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, GPUs, versions, and how busy the machine is."""
    import torch

    from MedFusionLib.computing.device import available_devices

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "devices": [found.title for found in available_devices()],
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor()
