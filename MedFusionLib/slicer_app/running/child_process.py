"""A child process seen from one thread: in Slicer through Qt, elsewhere through subprocess.

Both deliver output, log and end as calls of functions in the thread that started the process:
Slicer's scene and widgets must never be touched from another one.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

SECONDS_TO_DRAIN = 0.05


class ChildProcess(Protocol):
    """What ``WorkerClient`` needs of a process; set the three functions before ``start``."""

    onOutput: Callable[[bytes], None]
    """Gets chunks of standard output, which end anywhere."""
    onLog: Callable[[bytes], None]
    """Gets chunks of standard error."""
    onFinished: Callable[[int], None]
    """Called once, with the exit code (negative or non-zero after a crash or a kill)."""

    def start(self, command: Sequence[str]) -> None:
        """Start the program; one that is not there ends with code 127, once this has returned."""
        ...

    def send(self, data: bytes) -> None:
        """Write to standard input; silently lost when the process is gone."""
        ...

    def closeInput(self) -> None:
        """Let standard input end, which asks the worker to leave."""
        ...

    def kill(self) -> None:
        """End the process now."""
        ...

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call a function after so many seconds, whether the process lives or not."""
        ...

    def processEvents(self, seconds: float) -> None:
        """Deliver what happens within so many seconds, for callers that wait."""
        ...


def killGroup(processId: int) -> None:
    """Kill a worker and its children. The worker leads a process group of its own."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if os.name == "posix":
            if os.getpgid(processId) == processId:
                os.killpg(processId, signal.SIGKILL)
        else:
            command = ["taskkill", "/F", "/T", "/PID", str(processId)]
            subprocess.run(command, capture_output=True, timeout=5, check=False)


class SubprocessChild:
    """``ChildProcess`` outside Slicer; its events are delivered by ``processEvents``."""

    def __init__(self) -> None:
        self._events: queue.Queue[Callable[[], None]] = queue.Queue()
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._process: subprocess.Popen | None = None

    def start(self, command: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
        except OSError:
            self._events.put(lambda: self.onFinished(127))
            return
        self._process = process
        readers = [
            self._thread(self._read, process.stdout, lambda chunk: self.onOutput(chunk)),
            self._thread(self._read, process.stderr, lambda chunk: self.onLog(chunk)),
        ]
        self._thread(self._wait, process, readers)

    @staticmethod
    def _thread(function, *arguments) -> threading.Thread:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        thread.start()
        return thread

    def _read(self, pipe, deliver) -> None:
        while chunk := os.read(pipe.fileno(), 65536):
            self._events.put(lambda chunk=chunk: deliver(chunk))

    def _wait(self, process, readers) -> None:
        code = process.wait()
        for reader in readers:
            # A grandchild may hold the pipes open for ever.
            reader.join(timeout=SECONDS_TO_DRAIN)
        self._events.put(lambda: self.onFinished(code))

    def send(self, data: bytes) -> None:
        if self._process is not None:
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.write(data)

    def closeInput(self) -> None:
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        self._timers.append((time.monotonic() + seconds, function))

    def processEvents(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            self._runDueTimers()
            upcoming = min([end, *(due for due, _ in self._timers)])
            wait = max(0.0, upcoming - time.monotonic())
            try:
                self._events.get(timeout=wait)() if wait else self._events.get_nowait()()
            except queue.Empty:
                if time.monotonic() >= end:
                    return

    def _runDueTimers(self) -> None:
        now = time.monotonic()
        due = [function for moment, function in self._timers if moment <= now]
        self._timers = [timer for timer in self._timers if timer[0] > now]
        for function in due:
            function()


class QProcessChild:
    """``ChildProcess`` inside Slicer: everything is delivered by Qt's event loop."""

    def __init__(self) -> None:
        import qt

        self._qt = qt
        self._process = qt.QProcess()
        self._process.connect("readyReadStandardOutput()", self._onOutput)
        self._process.connect("readyReadStandardError()", self._onLog)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._onFinished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._onError)

    def start(self, command: Sequence[str]) -> None:
        self._process.start(command[0], list(command[1:]))

    def _onOutput(self) -> None:
        self.onOutput(self._process.readAllStandardOutput().data())

    def _onLog(self) -> None:
        self.onLog(self._process.readAllStandardError().data())

    def _onFinished(self, code, status) -> None:
        self.onFinished(code if status == self._qt.QProcess.NormalExit else -code)

    def _onError(self, error) -> None:
        # Only a program that did not start ends without `finished`. Where the system says so at
        # once, as on Windows, nobody has the process yet who could be told.
        if error == self._qt.QProcess.FailedToStart:
            self.later(0, lambda: self.onFinished(127))

    def send(self, data: bytes) -> None:
        if self._process.state() != self._qt.QProcess.NotRunning:
            self._process.write(self._qt.QByteArray(data))

    def closeInput(self) -> None:
        self._process.closeWriteChannel()

    def kill(self) -> None:
        if self._process.state() != self._qt.QProcess.NotRunning:
            self._process.kill()
            # A QProcess that is destroyed while it runs complains; the end comes in milliseconds.
            self._process.waitForFinished(100)

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        self._qt.QTimer.singleShot(round(1000 * seconds), function)

    def processEvents(self, seconds: float) -> None:
        import slicer

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            slicer.app.processEvents()
            # Without a pause the waiting itself would take a whole core.
            time.sleep(0.005)
