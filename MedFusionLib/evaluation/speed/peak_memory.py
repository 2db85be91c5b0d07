"""The most memory that this process, or its GPU, held between two moments."""

from __future__ import annotations

from pathlib import Path

import torch

PROCESS_STATUS = Path("/proc/self/status")
PEAK_RESET = Path("/proc/self/clear_refs")
"""Writing 5 here lets Linux count the peak anew (proc(5))."""


def start_memory(device: torch.device) -> int | None:
    """Bytes held now; the counters of the peak start again here. None where nobody tells."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    if not PEAK_RESET.exists():
        return None
    PEAK_RESET.write_text("5", encoding="ascii")
    return _status_bytes("VmRSS")


def peak_beyond(start: int | None, device: torch.device) -> int | None:
    """Bytes of the peak since `start_memory` beyond what it returned."""
    if start is None:
        return None
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) - start
    return _status_bytes("VmHWM") - start


def _status_bytes(field: str) -> int:
    """A memory figure of this process, as Linux tells it in kB."""
    for line in PROCESS_STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{PROCESS_STATUS} does not tell {field}.")
