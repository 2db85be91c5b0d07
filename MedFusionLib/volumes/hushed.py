"""What C and C++ libraries print on standard error, kept from the user's terminal.

ITK, MetaIO, NIfTI and HDF5 print there whatever displeases them, beside the error that they raise.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

_one_at_a_time = threading.RLock()


@contextmanager
def hushed() -> Iterator[Callable[[], str]]:
    """Standard error of the whole process is silent meanwhile, C libraries' included.

    Gives a function that tells what was printed so far.
    """
    with _one_at_a_time:
        try:
            terminal = os.dup(2)
        except OSError:  # a program without a terminal
            yield str
            return
        try:
            _flush()
            with _sink() as sink:
                os.dup2(sink.fileno(), 2)
                yield lambda: _all_of(sink)
        finally:
            _flush()
            os.dup2(terminal, 2)
            os.close(terminal)


def _sink() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError:  # no room for temporary files
        return open(os.devnull, "w+b")


def _all_of(sink: IO[bytes]) -> str:
    sink.seek(0)
    return sink.read().decode("utf-8", "replace")


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
