"""The real worker with fusion methods that do what methods must not do.

Run as ``python misbehaving_worker.py FOLDER``. Each method is registered under its own name; the
worker's code is not touched.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from MedFusionLib.methods import METHODS, MethodCard
from MedFusionLib.worker import __main__ as worker


class Misbehaving:
    """Averages, after doing something else to each batch of slices."""

    stride = 1

    def __init__(self, name, act):
        self.name, self._act = name, act

    def fuse(self, reference, other, slice_indices=None):
        self._act()
        return (reference + other) / 2


def print_everywhere():
    print("a library greets")
    os.write(1, b'{"v": 1, "id": 1, "event": "result"}\n')


def leave_a_child():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    hang()


def hang():
    print("hanging now", file=sys.stderr, flush=True)
    time.sleep(60)


def slow():
    time.sleep(0.1)


def run_out_of_memory():
    raise MemoryError


def divide_by_zero():
    return 1 // 0


ACTS = {
    "prints": print_everywhere,
    "hangs": hang,
    "leaves-a-child": leave_a_child,
    "aborts": os.abort,
    "slow": slow,
    "out-of-memory": run_out_of_memory,
    "defect": divide_by_zero,
}


def create(device: object, act: str):
    """The registry's entry point for each of them."""
    return Misbehaving(act, ACTS[act])


if __name__ == "__main__":
    sys.modules["misbehaving_worker"] = sys.modules["__main__"]
    for name in ACTS:
        METHODS[name] = MethodCard(name, "classical", "", (), 0, "", "", "misbehaving_worker")
    worker.main()
