"""Drives the worker process: requests in, progress and results out, and a Cancel that works.

From a console outside Slicer::

    client = WorkerClient(SubprocessChild, workerCommand())
    job = client.submit("fuse", {"reference": mr, "other": ct}, options={"method": "average"})
    volume = client.wait(job)["volume"]
    client.close()

All functions are called in the thread of the caller, from ``wait`` or from Qt's event loop.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import MedFusionLib
from MedFusionLib import errors
from MedFusionLib.errors import Cancelled, MedFusionError
from MedFusionLib.slicer_app.running.child_process import ChildProcess
from MedFusionLib.slicer_app.running.worker_job import Job, WorkerError, cancelled
from MedFusionLib.slicer_app.running.worker_session import (
    FurtherVolume,
    SteppedTransform,
    WorkerSession,
)
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.volumes.volume import Volume

SECONDS_TO_CANCEL = 2.0
"""A run that has not stopped so long after Cancel is ended with its process."""
SECONDS_TO_WAIT = 0.05
LOG_LINES = 2000


class WorkerClient:
    """Keeps one worker process alive between jobs and starts a new one after a crash.

    ``makeChild`` makes the transport; ``command`` starts a worker when the exchange folder is
    added (see ``workerCommand``). Jobs run one after the other. ``log`` holds the last lines of
    the worker's log.
    """

    def __init__(self, makeChild: Callable[[], ChildProcess], command: Sequence[str]) -> None:
        self._makeChild = makeChild
        self._command = list(command)
        self._session: WorkerSession | None = None
        self._jobs: dict[int, Job] = {}
        self._count = 0
        self.log: list[str] = []

    def another(self) -> WorkerClient:
        """A client with a process of its own, for work that must not keep others waiting."""
        return WorkerClient(self._makeChild, self._command)

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
        transform: SteppedTransform | None = None,
        further: Sequence[FurtherVolume] = (),
        **values: Any,
    ) -> Job:
        """Hand a request to the worker; returns at once.

        ``further`` are volumes behind those by role, each with a transform of its own; ``values``
        are the request's other fields. ``onDone`` gets the result's fields, with transforms as
        SimpleITK transforms and ``volume`` as a Volume with memory-mapped, read-only voxels.
        ``onError`` gets an error whose text is a sentence for the user (``Cancelled`` after a
        cancel). Exactly one of the two is called, never before ``submit`` has returned.

        The volumes are written in small steps between other events; ``onWritten`` is called after
        the last one and may raise a ``MedFusionError`` when they were changed meanwhile.
        ``receive(result)`` takes a large result in such steps as well, one with each step of the
        iterator that it returns, before ``onDone``; a cancel or the process's end stops it.
        """
        if self._session is None:
            self._session = WorkerSession(self, self._makeChild(), self._command)
        self._count += 1
        job = Job(
            self,
            self._count,
            [*volumes.values(), *(one.volume for one in further)],
            onProgress=onProgress,
            onDone=onDone,
            onError=onError,
            onWritten=onWritten,
            receive=receive,
        )
        self._jobs[job.number] = job
        request = {"id": job.number, "do": do, **values}
        self._session.hand(job, request, volumes, transform, further)
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
            self.end(job, None, cancelled())
            return
        if job.cancelling:
            self._killFor(job)
            return
        job.cancelling = True
        self._session.send({"id": 0, "do": "cancel", "target": job.number})
        self._session.child.later(SECONDS_TO_CANCEL, lambda: self._killFor(job))

    def abandon(self, job: Job) -> None:
        """End a job nobody waits for any more, at once and without a word; the process lives on
        and stops it when it next looks."""
        if not job.running or self._session is None:
            return
        self._session.send({"id": 0, "do": "cancel", "target": job.number})
        job.forget()
        self.end(job, None, cancelled())

    def _killFor(self, job: Job) -> None:
        if job.running:
            self._end(WorkerError(_("The fusion process was stopped.")), cancelledJob=job)

    def close(self) -> None:
        """End the process, with its jobs, and remove its folder. The client can be used again."""
        self._end(cancelled())

    def _end(self, error: MedFusionError, cancelledJob: Job | None = None) -> None:
        """Take leave of the process first, so that whoever is called can start a new one."""
        session, self._session = self._session, None
        jobs, self._jobs = self._jobs, {}
        if session is not None:
            session.end()
        for job in jobs.values():
            stopped = job is cancelledJob or job.cancelling
            job.finish(None, cancelled() if stopped else error)

    # What the session reports

    def onMessage(self, session: WorkerSession, message: Mapping[str, Any]) -> None:
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

    def _receive(self, session: WorkerSession, job: Job, result: dict[str, Any]) -> None:
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
                self.end(job, None, WorkerError(_("The memory does not suffice for the result.")))
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
                session.tidy(job, list(self._jobs.values()))

    def onFailure(self, session: WorkerSession, sentence: str) -> None:
        """The process is gone, or says what nobody understands."""
        if session is self._session:
            self._end(WorkerError(sentence))

    def onLog(self, lines: list[str]) -> None:
        """Lines of the worker's log."""
        self.log = [*self.log, *lines][-LOG_LINES:]


def _error(message: Mapping[str, Any]) -> MedFusionError:
    """The error of the worker as the class of the same name, else as a ``WorkerError``."""
    if message["kind"] == Cancelled.__name__:
        return cancelled()
    kind = getattr(errors, message["kind"], None)
    if isinstance(kind, type) and issubclass(kind, MedFusionError):
        return kind(message["message"])
    return WorkerError(message["message"])


def workerCommand() -> list[str]:
    """Starts a worker of this very MedFusionLib with this Python (in Slicer that is PythonSlicer).

    The place of the package is in the command: a launcher may set ``PYTHONPATH`` anew.
    """
    place = str(Path(MedFusionLib.__file__).resolve().parent.parent)
    start = "from MedFusionLib.worker.__main__ import main; main()"
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {place!r}); {start}"]


def slicerClient() -> WorkerClient:
    """The client for use inside Slicer."""
    from MedFusionLib.slicer_app.running.child_process import QProcessChild

    return WorkerClient(QProcessChild, workerCommand())
