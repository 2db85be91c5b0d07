"""Drives the worker process: requests in, progress and results out, and a Cancel that works.

From a console outside Slicer::

    client = WorkerClient(SubprocessChild, workerCommand())
    job = client.submit("fuse", {"reference": mr, "other": ct}, options={"method": "average"})
    volume = client.wait(job)["volume"]
    client.close()

All functions are called in the thread of the caller, from ``wait`` or from Qt's event loop.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import MedFusionLib
from MedFusionLib import errors
from MedFusionLib.errors import Cancelled, MedFusionError
from MedFusionLib.slicer_app.child_process import ChildProcess, killGroup
from MedFusionLib.slicer_app.exchange import ExchangeFolder
from MedFusionLib.volume import Volume
from MedFusionLib.worker_protocol import LineBuffer, ProtocolError, decode, encode

SECONDS_TO_CANCEL = 2.0
"""A run that has not stopped so long after Cancel is ended with its process."""
SECONDS_TO_START = 60.0
SECONDS_TO_WAIT = 0.05
LOG_LINES = 2000

CANCELLED = "The run was cancelled; nothing was changed."


class WorkerError(MedFusionError):
    """The worker process failed in a way that says nothing about the volumes."""


class Job:
    """One request on its way. ``cancel`` may be called at any time and more than once."""

    def __init__(self, client: WorkerClient, number: int, callbacks: Sequence[Callable]) -> None:
        self._client = client
        self.number = number
        self.onProgress, self._onDone, self._onError, self.onWritten, self.receive = callbacks
        self.volumes: list[Volume] = []
        self.running = True
        self.cancelling = False
        self.receiving = False
        self.result: dict[str, Any] | None = None
        self.error: MedFusionError | None = None

    def cancel(self) -> None:
        """Stop between two batches; at the second call, or after 2 s, kill the process."""
        self._client.cancel(self)

    def finish(self, result: dict[str, Any] | None, error: MedFusionError | None) -> None:
        """Called once by the client."""
        self.running = False
        self.result, self.error = result, error
        if error is not None:
            self._onError(error)
        else:
            self._onDone(result)


def _ignore(*arguments: Any) -> None:
    """For callers that do not ask to be told."""


def _receiveAtOnce(result: dict[str, Any]) -> Iterator[None]:
    """For callers to whom the result is as good as it comes."""
    return iter(())


class WorkerClient:
    """Keeps one worker process alive between jobs and starts a new one after a crash.

    ``makeChild`` makes the transport; ``command`` starts a worker when the exchange folder is
    added (see ``workerCommand``). Jobs run one after the other. ``log`` holds the last lines of
    the worker's log.
    """

    def __init__(self, makeChild: Callable[[], ChildProcess], command: Sequence[str]) -> None:
        self._makeChild = makeChild
        self._command = list(command)
        self._session: _Session | None = None
        self._jobs: dict[int, Job] = {}
        self._count = 0
        self.log: list[str] = []

    @property
    def processId(self) -> int | None:
        """The worker's own process ID, once it has reported."""
        return self._session.processId if self._session else None

    @property
    def folder(self) -> Path | None:
        """The worker's exchange folder, while there is a worker."""
        return self._session.folder if self._session else None

    def submit(
        self,
        do: str,
        volumes: Mapping[str, Volume],
        onProgress: Callable[[int, int, str], None] | None = None,
        onDone: Callable[[dict[str, Any]], None] | None = None,
        onError: Callable[[MedFusionError], None] | None = None,
        onWritten: Callable[[], None] | None = None,
        receive: Callable[[dict[str, Any]], Iterator[None]] | None = None,
        transform: Any = None,
        **values: Any,
    ) -> Job:
        """Hand a request to the worker; returns at once.

        ``values`` are the request's further fields. ``onDone`` gets the result's fields, with
        ``transform`` as a SimpleITK transform and ``volume`` as a Volume with memory-mapped,
        read-only voxels.
        ``onError`` gets an error whose text is a sentence for the user (``Cancelled`` after a
        cancel). Exactly one of the two is called, never before ``submit`` has returned.

        The volumes are written in small steps between other events; ``onWritten`` is called after
        the last one and may raise a ``MedFusionError`` when they were changed meanwhile.
        ``receive(result)`` takes a large result in such steps as well, one with each step of the
        iterator that it returns, before ``onDone``; a cancel or the process's end stops it.
        """
        if self._session is None:
            self._session = _Session(self, self._makeChild(), self._command)
        self._count += 1
        callbacks = [f or _ignore for f in (onProgress, onDone, onError, onWritten)]
        job = Job(self, self._count, [*callbacks, receive or _receiveAtOnce])
        job.volumes = list(volumes.values())
        self._jobs[job.number] = job
        self._session.hand(job, {"id": job.number, "do": do, **values}, volumes, transform)
        return job

    def wait(self, job: Job) -> dict[str, Any]:
        """Deliver events until the job has ended; its result, or its error raised.

        For scripts without an event loop.
        """
        while job.running:
            self.processEvents(SECONDS_TO_WAIT)
        if job.error is not None:
            raise job.error
        return job.result

    def processEvents(self, seconds: float) -> None:
        """Deliver what happens within so many seconds; does nothing without a worker."""
        if self._session is not None:
            self._session.child.processEvents(seconds)

    def cancel(self, job: Job) -> None:
        """See ``Job.cancel``."""
        if not job.running or self._session is None:
            return
        if job.receiving:
            self.end(job, None, Cancelled(CANCELLED))
            return
        if job.cancelling:
            self._killFor(job)
            return
        job.cancelling = True
        self._session.send({"id": 0, "do": "cancel", "target": job.number})
        self._session.child.later(SECONDS_TO_CANCEL, lambda: self._killFor(job))

    def _killFor(self, job: Job) -> None:
        if job.running:
            self._end(WorkerError("The fusion process was stopped."), cancelledJob=job)

    def close(self) -> None:
        """End the process, with its jobs, and remove its folder. The client can be used again."""
        self._end(Cancelled(CANCELLED))

    def _end(self, error: MedFusionError, cancelledJob: Job | None = None) -> None:
        """Take leave of the process first, so that whoever is called can start a new one."""
        session, self._session = self._session, None
        jobs, self._jobs = self._jobs, {}
        if session is not None:
            session.end()
        for job in jobs.values():
            stopped = job is cancelledJob or job.cancelling
            job.finish(None, Cancelled(CANCELLED) if stopped else error)

    # What the session reports

    def onMessage(self, session: _Session, message: Mapping[str, Any]) -> None:
        """One message of the worker."""
        job = self._jobs.get(message["id"])
        if job is None:
            return
        if message["event"] == "progress":
            job.onProgress(message["done"], message["total"], message["message"])
        elif message["event"] == "error":
            self.end(job, None, _error(message))
        elif message["event"] == "result":
            fields = {key: message[key] for key in message if key not in ("v", "id", "event")}
            self._receive(session, job, fields)

    def _receive(self, session: _Session, job: Job, result: dict[str, Any]) -> None:
        """Let the job take its result step by step, then end it."""
        job.receiving = True
        steps = job.receive(result)

        def step() -> None:
            if not job.running:
                return
            try:
                next(steps)
            except StopIteration:
                self.end(job, result, None)
            except MemoryError:
                self.end(job, None, WorkerError("The memory does not suffice for the result."))
            else:
                session.child.later(0, step)

        step()

    def end(self, job: Job, result: dict[str, Any] | None, error: MedFusionError | None) -> None:
        """One job has ended; the process lives on."""
        session = self._session
        del self._jobs[job.number]
        try:
            job.finish(result, error)
        finally:
            if session is not None and session is self._session:
                waiting = [volume for other in self._jobs.values() for volume in other.volumes]
                session.tidy(job, [*job.volumes, *waiting])

    def onFailure(self, session: _Session, sentence: str) -> None:
        """The process is gone, or says what nobody understands."""
        if session is self._session:
            self._end(WorkerError(sentence))

    def onLog(self, lines: list[str]) -> None:
        """Lines of the worker's log."""
        self.log = [*self.log, *lines][-LOG_LINES:]


class _Session:
    """One life of the worker process: its folder, its messages, its end."""

    def __init__(self, client: WorkerClient, child: ChildProcess, command: list[str]) -> None:
        self._client = client
        self.child = child
        self.processId: int | None = None
        self._ended = False
        self._resultFiles: dict[int, str] = {}
        self._buffer, self._logBuffer = LineBuffer(), LineBuffer()
        self._folder = ExchangeFolder()
        child.onOutput = self._onOutput
        child.onLog = self._onLog
        child.onFinished = self._onFinished
        child.start([*command, str(self._folder.path)])
        child.later(SECONDS_TO_START, self._onStartTimeout)

    def hand(self, job: Job, request: dict[str, Any], volumes: Mapping[str, Volume], transform):
        """Write the volumes in small steps between other events, then send the request."""
        steps = self._handSteps(job, request, volumes, transform)

        def step() -> None:
            if self._ended or not job.running:
                return
            try:
                next(steps)
            except StopIteration:
                return
            except MedFusionError as error:
                self._client.end(job, None, error)
                return
            except OSError as error:
                reason = f"{error.strerror or error}"
                self._fail(f"The volumes could not be written for the fusion process: {reason}.")
                return
            self.child.later(0, step)

        self.child.later(0, step)

    def _handSteps(self, job: Job, request, volumes, transform):
        for volume in volumes.values():
            yield from self._folder.write(volume)
        job.onWritten()
        messages = {role: self._folder.message(volume) for role, volume in volumes.items()}
        file = self._folder.writeTransform(transform)
        self.send({**request, **messages, "transform": file})
        yield

    @property
    def folder(self) -> Path:
        return self._folder.path

    def send(self, message: Mapping[str, Any]) -> None:
        self.child.send(encode(message))

    def _opened(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["event"] == "result":
            if message.get("volume"):
                self._resultFiles[message["id"]] = message["volume"]["file"]
                message["volume"] = self._folder.open(message["volume"])
            if message.get("transform"):
                message["transform"] = self._folder.readTransform(message["transform"])
        return message

    def tidy(self, job: Job, volumes: list[Volume]) -> None:
        """Remove the file of a job's result, and all written volumes but these."""
        self._folder.remove(self._resultFiles.pop(job.number, None))
        self._folder.keepOnly(volumes)

    def end(self) -> None:
        """Leave nothing behind: neither process nor children nor files.

        The worker has nothing to save. One that has not yet told its process ID leaves by itself
        at the end of its input, even when the program that was started is only its launcher.
        """
        self._ended = True
        self.child.closeInput()
        if self.processId is not None:
            killGroup(self.processId)
        self.child.kill()
        self._folder.close()

    def _onOutput(self, chunk: bytes) -> None:
        for line in self._buffer.lines(chunk):
            message = None if self._ended else self._understood(line)
            if message is not None:
                self._client.onMessage(self, message)

    def _understood(self, line: bytes) -> dict[str, Any] | None:
        """The message of a line, its volume and transform opened; a broken one ends the session."""
        try:
            message = decode(line)
            if message["event"] == "ready":
                self.processId = int(message["pid"])
            return self._opened(message)
        except (ProtocolError, LookupError, OSError, TypeError, ValueError) as error:
            logging.error("MedFusion: %r in %r", error, line[:200])
            self._fail(
                "The fusion process sent a broken message and was stopped. Try again; the log "
                "says more."
            )
            return None

    def _onLog(self, chunk: bytes) -> None:
        lines = self._logBuffer.lines(chunk)
        self._client.onLog([line.decode("utf-8", "replace") for line in lines])

    def _onFinished(self, code: int) -> None:
        if not self._ended:
            self._fail(_endSentence(code))

    def _onStartTimeout(self) -> None:
        if not self._ended and self.processId is None:
            self._fail("The fusion process did not start within a minute. The log says more.")

    def _fail(self, sentence: str) -> None:
        self._client.onFailure(self, sentence)


def _error(message: Mapping[str, Any]) -> MedFusionError:
    """The error of the worker as the class of the same name, else as a ``WorkerError``."""
    kind = getattr(errors, message["kind"], None)
    if isinstance(kind, type) and issubclass(kind, MedFusionError):
        return kind(message["message"])
    return WorkerError(message["message"])


def _endSentence(code: int) -> str:
    if code == 127:
        return "The fusion process could not be started. Reinstall MedFusion."
    if code in (-9, 137):
        return (
            "The fusion process was ended by the system, most likely because memory ran out. "
            "Close other programs, or choose a smaller method or volume."
        )
    return f"The fusion process ended unexpectedly (code {code}). Try again; the log says more."


def workerCommand() -> list[str]:
    """Starts a worker of this very MedFusionLib with this Python (in Slicer that is PythonSlicer).

    The place of the package is in the command: a launcher may set ``PYTHONPATH`` anew.
    """
    place = str(Path(MedFusionLib.__file__).resolve().parent.parent)
    start = "from MedFusionLib.worker import main; main()"
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {place!r}); {start}"]


def slicerClient() -> WorkerClient:
    """The client for use inside Slicer."""
    from MedFusionLib.slicer_app.child_process import QProcessChild

    return WorkerClient(QProcessChild, workerCommand())
