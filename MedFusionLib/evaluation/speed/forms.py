"""Before and after: the paper presets' straightforward form against ours, in child processes.

Random weights stand in for the authors', which are not to be had; they cost the same arithmetic.
Started as a module, it measures one form once and prints the figures as JSON.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from MedFusionLib.errors import MedFusionError

MODULE = "MedFusionLib.evaluation.speed.forms"
METHODS = ("asfe", "dmfnet")
FORMS = ("straightforward", "ours")
SIDE, WARM_UP_SIDE = 256, 128
ROUNDS = 2


def run_forms(progress: Callable[[int, int, str], None]) -> list[dict[str, Any]]:
    """Both forms of each method in turn, so that what else the machine does falls on both.

    One row per method: by form the CPU seconds of one 256x256 slice, its wall time and the peak
    memory beyond the network's, one value per round, and the ratios of ours to the other's median.
    """
    return [_row(method, progress, number) for number, method in enumerate(METHODS)]


def _row(method: str, progress: Callable[[int, int, str], None], number: int) -> dict[str, Any]:
    measured: dict[str, list[dict[str, Any]]] = {form: [] for form in FORMS}
    for turn in range(ROUNDS):
        for form in FORMS:
            measured[form].append(_child(method, form))
        progress(number * ROUNDS + turn + 1, len(METHODS) * ROUNDS, "Measuring the paper presets")
    return {"method": method, "preset": "paper", "side": SIDE, **measured} | {
        f"ratio_{name}": _ratio(measured, name) for name in ("cpu_seconds", "peak_bytes")
    }


def _ratio(measured: dict[str, list[dict[str, Any]]], name: str) -> float | None:
    values = {form: [one[name] for one in measured[form]] for form in FORMS}
    if None in values["ours"]:
        return None
    return statistics.median(values["ours"]) / statistics.median(values["straightforward"])


def _child(method: str, form: str) -> dict[str, Any]:
    command = [sys.executable, "-m", MODULE, method, form]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise MedFusionError(f"The {form} form of '{method}' could not be measured: {reason}")
    return json.loads(done.stdout)


def measure_form(method: str, form: str) -> dict[str, Any]:
    """Fuse one slice after a small one that warms up; CPU seconds count all threads."""
    import torch

    from MedFusionLib.computing.host_memory import freed_memory_kept
    from MedFusionLib.evaluation.speed.baselines import asfe_forms, dmfnet_forms
    from MedFusionLib.evaluation.speed.peak_memory import peak_beyond, start_memory
    from MedFusionLib.methods.asfe.architecture import PRESETS as ASFE
    from MedFusionLib.methods.dmfnet.config import PRESETS as DMFNET

    makers = {"asfe": lambda: asfe_forms(ASFE["paper"], 0)}
    makers["dmfnet"] = lambda: dmfnet_forms(DMFNET["paper"], 0)
    fuse = makers[method]()[form]()
    with torch.inference_mode(), freed_memory_kept():
        fuse(*torch.rand(2, 1, 1, WARM_UP_SIDE, WARM_UP_SIDE))
        start, slices = start_memory(torch.device("cpu")), torch.rand(2, 1, 1, SIDE, SIDE)
        started, started_cpu = time.perf_counter(), time.process_time()
        fuse(*slices)
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - started_cpu,
        "peak_bytes": peak_beyond(start, torch.device("cpu")),
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    print(json.dumps(measure_form(sys.argv[1], sys.argv[2])))
