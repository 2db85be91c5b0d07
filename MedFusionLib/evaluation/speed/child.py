"""Measures one method in one setting, in a process of its own so that its memory is its own.

Started by `benchmark` with the setting as JSON in the argument; prints the result as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from MedFusionLib.computing.device import autocast, choose_device, computed_precision
from MedFusionLib.computing.host_memory import freed_memory_kept
from MedFusionLib.computing.slice_fusion import fuse_slices
from MedFusionLib.evaluation.speed.peak_memory import peak_beyond, start_memory
from MedFusionLib.methods import FusionMethod, create_method, method_card

SHORTEST_TIMING = 0.05
"""Seconds: a shorter run is repeated until it lasts as long, beyond what a clock or the scheduler
blurs."""
MATRIX_SIZE = 2048
MATRIX_REPEATS = 5


def measure(setting: dict[str, Any]) -> dict[str, Any]:
    """Speed, memory and arithmetic of one setting.

    Setting: method, height, width, batch, device, precision, repeats. Returns these with
    `seconds_per_slice` (one value per repeat), `peak_bytes` (beyond what the process held before
    the method was made; null where the system does not tell), `flop_per_slice` (2 per
    multiply-add; products, convolutions and attention, no Fourier transforms),
    `matrix_flop_per_second` (measured here, 2048x2048) and `threads`.
    """
    device = choose_device(setting["device"]).device
    precision = _precision(setting, device)
    slices = _slices(setting, device)
    start = start_memory(device)
    method = create_method(setting["method"], device)

    def run() -> None:
        with autocast(precision, device):
            fuse_slices(method, *slices)

    # As whenever a volume is fused.
    with freed_memory_kept():
        run()
        # Of one run: how much freed memory lies in pieces after many depends on the machine.
        peak_bytes = peak_beyond(start, device)
        times = _times(run, setting["repeats"], device)
    return {
        **setting,
        "device": str(device),
        "precision": precision,
        "threads": torch.get_num_threads(),
        "seconds_per_slice": [seconds / setting["batch"] for seconds in times],
        "peak_bytes": peak_bytes,
        "flop_per_slice": count_flop(method, slices, precision, device),
        "matrix_flop_per_second": _matrix_speed(precision, device),
    }


def fuse_once(setting: dict[str, Any]) -> dict[str, Any]:
    """Make the method and fuse one batch: what a whole process does, for `--against`."""
    device = choose_device(setting["device"]).device
    method = create_method(setting["method"], device)
    with autocast(_precision(setting, device), device):
        fuse_slices(method, *_slices(setting, device))
    _synchronise(device)
    return setting


def _precision(setting: dict[str, Any], device: torch.device) -> str:
    offered = method_card(setting["method"]).reduced_precisions
    return computed_precision(setting["precision"], device, offered)


def _slices(setting: dict[str, Any], device: torch.device) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (setting["batch"], 1, setting["height"], setting["width"])
    return (
        torch.rand(shape, generator=generator).to(device),
        torch.rand(shape, generator=generator).to(device),
    )


def _times(run: Callable[[], None], repeats: int, device: torch.device) -> list[float]:
    """Seconds of one run, once per repeat, after a warm-up."""
    run()
    rounds = 1 + int(SHORTEST_TIMING / max(_timed(run, 1, device), 1e-9))
    return [_timed(run, rounds, device) for _ in range(repeats)]


def _timed(run: Callable[[], None], rounds: int, device: torch.device) -> float:
    if device.type == "cuda":
        return _timed_by_events(run, rounds)
    started = time.perf_counter()
    for _ in range(rounds):
        run()
    _synchronise(device)
    return (time.perf_counter() - started) / rounds


def _timed_by_events(run: Callable[[], None], rounds: int) -> float:
    """A GPU works behind the program's back, so its own clock is asked."""
    started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    started.record()
    for _ in range(rounds):
        run()
    ended.record()
    torch.cuda.synchronize()
    return started.elapsed_time(ended) / 1000 / rounds


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def count_flop(
    method: FusionMethod, slices: tuple[Tensor, Tensor], precision: str, device: torch.device
) -> int:
    """FLOP of fusing one slice, 2 per multiply-add, as PyTorch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, autocast(precision, device):
        fuse_slices(method, slices[0][:1], slices[1][:1])
    return counter.get_total_flops()


def _matrix_speed(precision: str, device: torch.device) -> float:
    """Median FLOP/s of a 2048x2048 matrix product in this precision, here and now."""
    dtype = getattr(torch, precision)
    first = torch.rand(MATRIX_SIZE, MATRIX_SIZE, device=device).to(dtype)

    def multiply() -> None:
        first @ first

    return 2 * MATRIX_SIZE**3 / statistics.median(_times(multiply, MATRIX_REPEATS, device))


def main() -> None:
    """`python -m MedFusionLib.evaluation.speed.child measure|once SETTING`."""
    task = {"measure": measure, "once": fuse_once}[sys.argv[1]]
    print(json.dumps(task(json.loads(sys.argv[2]))))


if __name__ == "__main__":
    main()
