"""The memory that a network's maps leave behind, kept for those of the next layer.

glibc gives a large block back to the system as soon as it is free, and the system then hands out,
and clears, every page of the next one anew. A network frees and takes hundreds of such blocks for
each slice: that was a third of the time of `dmfnet`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3): memory above the first goes back, blocks above the second at once."""
_KEPT, _LARGEST_KEPT = 1 << 30, 256 << 20
_KEPT_AFTERWARDS, _LARGEST_KEPT_AFTERWARDS = 64 << 20, 32 << 20
"""Bytes; what glibc itself arrives at in a process that has freed a block of 32 MiB."""

_CHOSEN_BY_USER = frozenset({"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"})


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Reuse freed memory within; give it back at the end.

    Does nothing without glibc, nor against the user's own choice for it in the environment.
    """
    library = _glibc()
    if library is None or not _CHOSEN_BY_USER.isdisjoint(os.environ):
        yield
        return
    _keep(library, _KEPT, _LARGEST_KEPT)
    try:
        yield
    finally:
        _keep(library, _KEPT_AFTERWARDS, _LARGEST_KEPT_AFTERWARDS)
        library.malloc_trim(ctypes.c_size_t(_KEPT_AFTERWARDS))


def _keep(library: Any, total: int, largest: int) -> None:
    library.mallopt(_TRIM_THRESHOLD, total)
    library.mallopt(_MMAP_THRESHOLD, largest)


def _glibc() -> Any | None:
    """The C library of this process, if it has both functions."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has no library that means the process itself
        return None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
