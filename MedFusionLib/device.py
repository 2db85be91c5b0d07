"""Where a method runs: device, precision, batch size, and what happens when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib.errors import Cancelled, DeviceError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
CPU_BATCH = 4
"""Slices of a batch on the CPU: more no longer help, as they leave the caches."""
MEMORY_SHARE = 0.6
"""Part of the free GPU memory that a batch may be planned to need."""
MAXIMUM_BATCH = 64


@dataclass(frozen=True)
class Device:
    """A device with its name for people, for example ``cuda:0`` and "NVIDIA H200, CUDA 13.0"."""

    device: torch.device
    title: str


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


def choose_precision(wanted: str, device: torch.device) -> str:
    """The precision of the networks' matrix products and convolutions on a device.

    ``auto`` is bfloat16 on GPUs that have it, else float16 there; float32 on the CPU.
    """
    import torch

    if wanted not in PRECISIONS:
        raise DeviceError(f"'{wanted}' is not a precision. Choose one of: {', '.join(PRECISIONS)}.")
    if wanted != "auto":
        return wanted
    if device.type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Context in which torch computes in that precision where this is safe."""
    import torch

    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))


def run_in_batches(
    run: Callable[[Sequence[int]], None],
    count: int,
    device: torch.device,
    batch_size: int | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Iterator[int]:
    """Call ``run`` with the indices of one batch after the other; yields how many are done.

    Without ``batch_size`` the first batch is one slice, and what it took decides how many fit.
    When memory runs out, the batch is halved and repeated; a single slice that does not fit
    raises ``DeviceError``. ``cancel`` is asked before each batch.
    """
    size, done = batch_size or 1, 0
    while done < count:
        if cancel is not None and cancel():
            raise Cancelled("The run was cancelled; nothing was changed.")
        batch = range(done, min(done + size, count))
        try:
            run(batch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            size = _halved(size, device)
            continue
        done = batch.stop
        yield done
        if batch_size is None and batch.start == 0:
            size = _fitting_batch(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU."""
    import torch

    words = ("out of memory", "can't allocate memory", "not enough memory", "bad alloc")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        word in str(error).lower() for word in words
    )


def _halved(size: int, device: torch.device) -> int:
    import torch

    if size == 1:
        raise DeviceError(
            f"The memory of {device} does not suffice for a single slice. Choose the CPU, a "
            "smaller method, or close other programs."
        )
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return size // 2


def _fitting_batch(device: torch.device) -> int:
    """Slices that fit, from what the first one took on a GPU."""
    import torch

    if device.type != "cuda":
        return CPU_BATCH
    per_slice = max(torch.cuda.max_memory_allocated(device), 1)
    free = torch.cuda.mem_get_info(device)[0]
    return int(np.clip(MEMORY_SHARE * free / per_slice, 1, MAXIMUM_BATCH))
