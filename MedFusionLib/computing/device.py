"""Where a method runs: device, precision, batch size, and what happens when memory runs out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from MedFusionLib.errors import Cancelled, DeviceError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
CPU_BATCH = 4
"""Slices of a batch on the CPU: more no longer help, as they leave the caches."""
SPINS = "1000"
"""Looks at a flag, some microseconds in all, before a waiting thread of GNU's OpenMP sleeps."""
MEMORY_SHARE = 0.6
"""Part of the free GPU memory that a batch may be planned to need."""
MAXIMUM_BATCH = 64


@dataclass(frozen=True)
class Device:
    """A device with its name for people, for example ``cuda:0`` and "NVIDIA H200, CUDA 13.0"."""

    device: torch.device
    title: str


def let_threads_wait() -> None:
    """Let torch's threads soon sleep when they wait for each other; call it before importing torch.

    They else spin for milliseconds, and a core that another program uses makes all of them slow:
    `asfe` took 33 s for a volume of 94 slices beside one busy process, and 19 s asleep. Threads
    that sleep at once, though, are woken on one core as often as on two: on two idle cores a slice
    took `asfe` 46 ms of wall time, and 35 ms where threads spin for some microseconds first, and
    beside busy processes as long as before (`pyramid` 4.6 ms there in place of 3). A choice of the
    user's in ``OMP_WAIT_POLICY`` or ``GOMP_SPINCOUNT`` is kept.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def available_devices() -> tuple[Device, ...]:
    """The CPU and every GPU that torch can use."""
    import torch

    found = [Device(torch.device("cpu"), "CPU")]
    for index in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(index)
        found.append(
            Device(
                torch.device("cuda", index), f"{name}, CUDA {getattr(torch.version, 'cuda', '')}"
            )
        )
    if torch.backends.mps.is_available():
        found.append(Device(torch.device("mps"), "Apple GPU"))
    return tuple(found)


def choose_device(wanted: str = "auto") -> Device:
    """The device of that name; ``auto`` takes the GPU with most free memory, else the CPU.

    Raises ``DeviceError``, listing what there is, for a device that does not exist.
    """
    devices = available_devices()
    if wanted == "auto":
        return max(devices, key=_free_memory)
    name = {"cuda": "cuda:0", "gpu": "cuda:0"}.get(wanted, wanted)
    for candidate in devices:
        if str(candidate.device) == name:
            return candidate
    listing = "; ".join(f"{candidate.device} ({candidate.title})" for candidate in devices)
    raise DeviceError(f"There is no device '{wanted}'. This machine has: {listing}.")


def _free_memory(candidate: Device) -> int:
    """Bytes free on a GPU; the CPU counts as less than any GPU."""
    import torch

    if candidate.device.type == "cuda":
        return torch.cuda.mem_get_info(candidate.device)[0]
    return 0 if candidate.device.type == "cpu" else 1


def choose_precision(wanted: str, device: torch.device, offered: Sequence[str] = ()) -> str:
    """The precision asked for, or, for ``auto``, the fastest that keeps the result.

    ``offered`` are the precisions below float32 that a method's card vouches for. A GPU takes the
    first of them. A CPU computes in float32: no shipped network keeps the result in bfloat16 (they
    move a voxel by up to 0.005 and 0.012 of 1), and float16, which keeps it (0.0007 and 0.0023),
    took 1.2 times as long as float32 where it was measured, on a Xeon without AMX. It is a rule and
    no measurement at run time, which on a busy machine would change the result from run to run.
    """
    if wanted not in PRECISIONS:
        raise DeviceError(f"'{wanted}' is not a precision. Choose one of: {', '.join(PRECISIONS)}.")
    if wanted != "auto":
        return wanted
    return offered[0] if offered and device.type == "cuda" else "float32"


def computed_precision(wanted: str, device: torch.device, offered: Sequence[str]) -> str:
    """What a method computes in: as `choose_precision`, but float32 for what it does not offer."""
    chosen = choose_precision(wanted, device, offered)
    return chosen if chosen in offered else "float32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Context in which torch computes in that precision where this is safe."""
    import torch

    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))


class BatchWork(Protocol):
    """What is done with one batch of slices after the other."""

    device: torch.device

    def __call__(self, batch: Sequence[int], following: Sequence[int]) -> None:
        """Work on a batch; ``following`` is what will probably be asked for next."""

    def continue_on_cpu(self, first: int) -> None:
        """Work on slice ``first`` and those behind it on the CPU, or raise ``DeviceError``."""


def run_in_batches(
    work: BatchWork,
    count: int,
    batch_size: int | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Iterator[int]:
    """Give ``work`` one batch of indices after the other; yields how many are done.

    Without ``batch_size`` the first batch is one slice, and what it took decides how many fit.
    When memory runs out, the batch is halved and repeated; when it does not suffice for a single
    slice, the work goes on on the CPU. ``cancel`` is asked before each batch.
    """
    size, done = batch_size or 1, 0
    measuring, held = batch_size is None, _counted_from(work.device)
    while done < count:
        if cancel is not None and cancel():
            raise Cancelled("The run was cancelled; nothing was changed.")
        batch = range(done, min(done + size, count))
        # While the size is still unknown, nobody can tell what follows.
        following = range(batch.stop, batch.stop if measuring else min(batch.stop + size, count))
        if not _fits(work, batch, following):
            if size == 1:
                work.continue_on_cpu(done)
            size = max(size // 2, 1)
            continue
        done = batch.stop
        yield done
        if measuring:
            size, measuring = _fitting_batch(work.device, held), False


def _fits(work: BatchWork, batch: range, following: range) -> bool:
    """Work on a batch; False if memory ran out."""
    try:
        work(batch, following)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return True
    # Only here has the error let go of the tensors of the frames it came through.
    _release_memory(work.device)
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU."""
    import torch

    words = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        word in str(error).lower() for word in words
    )


def _release_memory(device: torch.device) -> None:
    """Give what torch keeps for later back to the GPU."""
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()


def _counted_from(device: torch.device) -> int:
    """Bytes that are held on a GPU now; its peak is counted anew from here."""
    import torch

    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _fitting_batch(device: torch.device, held: int) -> int:
    """Slices that fit, from what the first one took on a GPU beyond the bytes held before it."""
    import torch

    if device.type != "cuda":
        return CPU_BATCH
    per_slice = max(torch.cuda.max_memory_allocated(device) - held, 1)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + cached
    return int(np.clip(MEMORY_SHARE * free / per_slice, 1, MAXIMUM_BATCH))
