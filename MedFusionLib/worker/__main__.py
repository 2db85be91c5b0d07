"""The child process behind the panel: ``python -m MedFusionLib.worker FOLDER``.

It answers the requests of ``MedFusionLib.worker.protocol`` (which describes every message) one
after the other until its standard input ends. A thread reads the requests, so that a cancel is
seen while a batch runs; all work happens in the main thread.

Libraries print to standard output whenever they like. So the protocol gets a descriptor of its
own, and everything that is printed, from Python or from C, goes to the log on standard error.
"""

from __future__ import annotations

import logging
import os
import queue
import re
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from MedFusionLib.computing.device import let_threads_wait
from MedFusionLib.errors import Cancelled, DeviceError, MedFusionError
from MedFusionLib.version import __version__
from MedFusionLib.worker.protocol import ProtocolError, decode, encode
from MedFusionLib.worker.tasks import Tasks

LOG = logging.getLogger("MedFusion worker")
_PYTHON = sys.version.split()[0]
_TOLD = ("method", "alignment", "plane", "colour", "device", "precision")
_ONLY_OPTIONS = re.compile(r" \(--[^)]*\)")
_OPTIONS_AND_MORE = re.compile(r"\(--[^);]*; ")
NICENESS = 5
"""By how much the worker stands back behind the interface, in steps of ``nice``."""


class Worker:
    """Reads requests, runs them, writes answers."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO, folder: Path) -> None:
        self._requests = requests
        self._answers = answers
        self._folder = folder
        self._tasks = Tasks(folder)
        self._waiting: queue.Queue[dict[str, Any]] = queue.Queue()
        self._cancelled: set[int] = set()

    def run(self) -> None:
        """Serve for ever; the reading thread ends the process with its input."""
        LOG.info("MedFusion %s, Python %s, process %d", __version__, _PYTHON, os.getpid())
        self._send(0, "ready", pid=os.getpid(), version=__version__)
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            self._answer(self._waiting.get())

    def _read(self) -> None:
        for line in self._requests:
            try:
                request = decode(line)
            except ProtocolError as error:
                LOG.error("%s", error)
                continue
            if request.get("do") == "cancel":
                self._cancelled.add(request["target"])
            else:
                self._waiting.put(request)
        # Whoever asked is gone: nobody waits for the batch in progress, and nobody else is left
        # to remove the folder.
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)

    def _answer(self, request: Mapping[str, Any]) -> None:
        number = request["id"]

        def cancelled() -> bool:
            return number in self._cancelled

        def progress(done: int, total: int, message: str) -> None:
            self._send(number, "progress", done=done, total=total, message=message)

        begin = time.monotonic()
        LOG.info("%s", _title(request))
        try:
            if cancelled():
                raise Cancelled("The run was cancelled; nothing was changed.")
            self._send(number, "result", **self._tasks.run(request, progress, cancelled))
            LOG.info("%s %d done in %.2f s", request.get("do"), number, time.monotonic() - begin)
        except Exception as error:
            sentence = without_options(_sentence(error))
            kind = type(error).__name__
            # The sentence may name the patient.
            LOG.info("%s %d ended: %s", request.get("do"), number, kind)
            self._send(number, "error", kind=kind, message=sentence)

    def _send(self, number: int, event: str, **values: Any) -> None:
        self._answers.write(encode({"id": number, "event": event, **values}))
        self._answers.flush()


def _title(request: Mapping[str, Any]) -> str:
    """What is asked for, without the names of volumes, which may be those of patients."""
    told = {key: request["options"].get(key) for key in _TOLD} if "options" in request else {}
    values = [f"{key} {value}" for key, value in told.items() if value is not None]
    return f"{request.get('do')} {request['id']}: {', '.join(values) or 'begun'}"


def without_options(sentence: str) -> str:
    """A sentence of the library for the panel, where nobody types options of a command line.

    They stand in brackets, in which only what follows a semicolon is for everyone.
    """
    return _ONLY_OPTIONS.sub("", _OPTIONS_AND_MORE.sub("(", sentence))


def _sentence(error: Exception) -> str:
    """What the user reads; whatever is no clear refusal goes to the log in full."""
    if isinstance(error, MedFusionError | ValueError):
        return str(error)
    LOG.error("%s", error, exc_info=error)
    if isinstance(error, ModuleNotFoundError):
        return f"This needs the Python package '{error.name}', which is not installed."
    if _ran_out_of_memory(error):
        return str(
            DeviceError(
                "The memory does not suffice for this run. Close other programs, or choose the "
                "CPU or a smaller method."
            )
        )
    return f"The fusion stopped on an unexpected error ({type(error).__name__}: {error})."


def _ran_out_of_memory(error: Exception) -> bool:
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from MedFusionLib.computing.device import is_out_of_memory

    return is_out_of_memory(error)


def _private_channels() -> tuple[BinaryIO, BinaryIO]:
    """Take standard input and output for the protocol alone."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, answers


def main() -> None:
    """Entry point; the folder is the only argument."""
    requests, answers = _private_channels()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    if os.name == "posix" and os.getpgid(0) != os.getpid():
        # A group of its own, so that a kill reaches this process and its children, nobody else.
        os.setpgid(0, 0)
    if os.name == "posix":
        # The interface comes first when both want the same core. Not on Linux in a Slicer that runs
        # with its default SLICER_BACKGROUND_THREAD_PRIORITY: that one stands back itself, as far
        # as a process can, and so does all that it starts.
        os.nice(NICENESS)
    let_threads_wait()
    Worker(requests, answers, Path(sys.argv[1])).run()


if __name__ == "__main__":
    main()
