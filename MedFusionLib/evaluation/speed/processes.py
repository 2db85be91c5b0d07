"""What whole processes take: start-up, and the cluster against a plain loop of the same cases."""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MedFusionLib.errors import MedFusionError
from MedFusionLib.volumes.files import write_volume
from MedFusionLib.volumes.volume import Volume

MEDFUSION = (sys.executable, "-m", "MedFusionLib.cli")
STARTS = 3
SMALL = (24, 128, 128)
IMPORT = "import time; begun = time.perf_counter(); import MedFusionLib; "
IMPORT += "print(time.perf_counter() - begun)"

CASES, ROUNDS = 5, 1
LONG_CASE = (140, 256, 256)
"""Takes the guided filter over 10 s on two cores."""


def run_startup(progress: Callable[[int, int, str], None]) -> list[dict[str, Any]]:
    """Seconds of `import MedFusionLib` within Python, and of a whole small `medfusion fuse`.

    Each row has `what`, `seconds` (one value per start) and `cpu_seconds` of the whole process,
    and `median_seconds`.
    """
    with tempfile.TemporaryDirectory() as folder:
        pair = _write_pair(Path(folder), SMALL)
        fuse = [*MEDFUSION, "fuse", *map(str, pair), "-o", f"{folder}/fused.nrrd", "--quiet"]
        rows = []
        for what, command in (
            ("import MedFusionLib", [sys.executable, "-c", IMPORT]),
            ("medfusion fuse --method pyramid, 128×128×24", [*fuse, "--method", "pyramid"]),
        ):
            runs = [_timed(command) for _ in range(STARTS)]
            seconds = [float(run["printed"] or run["seconds"]) for run in runs]
            rows.append(
                {
                    "what": what,
                    "seconds": seconds,
                    "cpu_seconds": [run["cpu_seconds"] for run in runs],
                    "median_seconds": statistics.median(seconds),
                }
            )
            progress(len(rows), 2, "Measuring the start-up")
        return rows


def run_cluster(progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """`medfusion batch` with `--cluster local:1` and without, in turn, on the same cases.

    Returns for `plain` and `cluster` one entry per round: `seconds` and `cpu_seconds` of the whole
    process and `case_seconds` from its summary; and two ratios of cluster to plain, the median
    over the rounds: `ratio_of_cases` of the sums of the cases' seconds, `ratio_of_processes` of
    the whole, the start of Python, torch and the cluster included.
    """
    measured: dict[str, list[dict[str, Any]]] = {"plain": [], "cluster": []}
    arguments = {"plain": [], "cluster": ["--cluster", "local:1"]}
    with tempfile.TemporaryDirectory() as folder:
        table = _write_cases(Path(folder))
        for number in range(ROUNDS):
            for place, name in enumerate(measured):
                output = Path(folder) / f"{name}{number}"
                measured[name].append(_batch(table, output, arguments[name]))
                progress(2 * number + place + 1, 2 * ROUNDS, "Measuring the cluster")
    pairs = list(zip(measured["plain"], measured["cluster"], strict=True))
    return {
        "cases": CASES,
        "slices": LONG_CASE[0],
        "method": "guided-filter",
        **measured,
        "ratio_of_cases": statistics.median(
            sum(other["case_seconds"]) / sum(plain["case_seconds"]) for plain, other in pairs
        ),
        "ratio_of_processes": statistics.median(
            other["seconds"] / plain["seconds"] for plain, other in pairs
        ),
    }


def _batch(table: Path, output: Path, arguments: Sequence[str]) -> dict[str, Any]:
    command = [*MEDFUSION, "batch", str(table), "-o", str(output), "--method", "guided-filter"]
    timed = _timed([*command, "--quiet", *arguments])
    with (output / "summary.csv").open(newline="", encoding="utf-8") as file:
        timed["case_seconds"] = [float(row["seconds"]) for row in csv.DictReader(file)]
    return timed


def _timed(command: Sequence[str]) -> dict[str, Any]:
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - started, os.times()
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise MedFusionError(f"'{' '.join(command[1:])}' could not be measured: {reason}")
    used = (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )
    return {"seconds": seconds, "cpu_seconds": used, "printed": done.stdout.strip()}


def _write_cases(folder: Path) -> Path:
    reference, other = _write_pair(folder, LONG_CASE)
    lines = [f"case{number},{reference.name},{other.name}" for number in range(CASES)]
    table = folder / "cases.csv"
    table.write_text("\n".join(["case,reference,other", *lines]) + "\n", encoding="utf-8")
    return table


def _write_pair(folder: Path, shape: tuple[int, int, int]) -> tuple[Path, Path]:
    paths = folder / "reference.nrrd", folder / "other.nrrd"
    for seed, path in enumerate(paths):
        voxels = np.random.default_rng(seed).integers(0, 1000, shape, np.int16)
        write_volume(Volume(voxels, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), path)
    return paths
