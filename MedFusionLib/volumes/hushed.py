"""What C and C++ libraries print on standard error, kept from the user's terminal.

ITK, MetaIO, NIfTI and HDF5 print there whatever displeases them, beside the error that they raise.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_one_at_a_time = threading.RLock()


@contextmanager
def hushed() -> Iterator[None]:
    """Standard error of the whole process is silent meanwhile, C libraries' included."""
    with _one_at_a_time:
        try:
            terminal = os.dup(2)
        except OSError:  # a program without a terminal
            yield
            return
        try:
            _flush()
            with tempfile.TemporaryFile() as sink:
                os.dup2(sink.fileno(), 2)
                yield
        finally:
            _flush()
            os.dup2(terminal, 2)
            os.close(terminal)


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
