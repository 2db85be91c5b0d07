"""One life of the worker process: started, written to, listened to, and ended with its files."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from MedFusionLib.errors import MedFusionError
from MedFusionLib.slicer_app.running.child_process import ChildProcess, killGroup
from MedFusionLib.slicer_app.running.exchange import ExchangeFolder
from MedFusionLib.slicer_app.running.worker_job import Job, cancelled
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.volumes.volume import Volume
from MedFusionLib.worker.protocol import LineBuffer, ProtocolError, decode, encode

SECONDS_TO_START = 60.0


class SessionOwner(Protocol):
    """Who is told what a session hears: the client."""

    def onMessage(self, session: WorkerSession, message: Mapping[str, Any]) -> None:
        """One message of the worker."""
        ...

    def onFailure(self, session: WorkerSession, sentence: str) -> None:
        """The process is gone, or says what nobody understands."""
        ...

    def onLog(self, lines: list[str]) -> None:
        """Lines of the worker's log."""
        ...

    def end(self, job: Job, result: dict[str, Any] | None, error: MedFusionError | None) -> None:
        """One job has ended; the process lives on."""
        ...


class SteppedTransform(Protocol):
    """A transform that may take long to find."""

    def steps(self) -> Iterator[None]:
        """Find it, a little with each step; raises a ``MedFusionError`` for one that is none."""
        ...

    @property
    def value(self) -> Any:
        """The SimpleITK transform, or None."""
        ...


@dataclass(frozen=True)
class FurtherVolume:
    """A volume of a request behind the second, and how it is laid and shown: ``alignment``,
    ``window`` and ``colour`` of the worker's protocol."""

    volume: Volume
    transform: SteppedTransform | None
    settings: Mapping[str, Any]


class WorkerSession:
    """One life of the worker process: its folder, its messages, its end.

    ``command`` starts a worker when the exchange folder is added; ``child`` is its transport.
    """

    def __init__(self, client: SessionOwner, child: ChildProcess, command: list[str]) -> None:
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

    def hand(
        self,
        job: Job,
        request: dict[str, Any],
        volumes: Mapping[str, Volume],
        transform: SteppedTransform | None,
        further: Sequence[FurtherVolume],
    ) -> None:
        """Write the volumes and find the transforms in small steps between other events, then send
        the request."""
        steps = self._handSteps(job, request, volumes, transform, further)

        def step() -> None:
            if self._ended or not job.running:
                return
            if job.cancelling:
                # The worker has not heard of it yet.
                self._client.end(job, None, cancelled())
                return
            try:
                next(steps)
            except StopIteration:
                return
            except MedFusionError as error:
                self._client.end(job, None, error)
                return
            except OSError as error:
                sentence = _("The volumes could not be written for the fusion process: {reason}.")
                self._fail(sentence.format(reason=error.strerror or error))
                return
            self.child.later(0, step)

        self.child.later(0, step)

    def _handSteps(self, job: Job, request, volumes, transform, further):
        for volume in job.volumes:
            yield from self._folder.write(volume)
        job.onWritten()
        messages: dict[str, Any] = {
            role: self._folder.message(volume) for role, volume in volumes.items()
        }
        messages["transform"] = yield from self._transformFile(job, transform)
        if further:
            messages["further"] = []
        for one in further:
            file = yield from self._transformFile(job, one.transform)
            message = {"volume": self._folder.message(one.volume), "transform": file}
            messages["further"].append({**message, **one.settings})
        self.send({**request, **messages})
        yield

    def _transformFile(self, job: Job, transform: SteppedTransform | None):
        """Find a transform in steps; the iteration's return value is the name of its file."""
        if transform is None:
            return None
        yield from transform.steps()
        found = transform.value
        job.transforms.append(found)
        return self._folder.writeTransform(found)

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
            if "further_transforms" in message:
                message["further_transforms"] = [
                    None if file is None else self._folder.readTransform(file)
                    for file in message["further_transforms"]
                ]
        return message

    def tidy(self, job: Job, waiting: Sequence[Job]) -> None:
        """Remove the file of a job's result, and all that was written for neither it nor those that
        wait."""
        self._folder.remove(self._resultFiles.pop(job.number, None))
        volumes = [volume for one in (job, *waiting) for volume in one.volumes]
        transforms = [transform for one in (job, *waiting) for transform in one.transforms]
        self._folder.keepOnly(volumes, transforms)

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
                _(
                    "The fusion process sent a broken message and was stopped. Try again; the log "
                    "says more."
                )
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
            self._fail(_("The fusion process did not start within a minute. The log says more."))

    def _fail(self, sentence: str) -> None:
        self._client.onFailure(self, sentence)


def _endSentence(code: int) -> str:
    if code == 127:
        return _("The fusion process could not be started. Reinstall MedFusion.")
    if code in (-9, 137):
        return _(
            "The fusion process was ended by the system, most likely because memory ran out. "
            "Close other programs, or choose a smaller method or volume."
        )
    return _(
        "The fusion process ended unexpectedly (code {code}). Try again; the log says more."
    ).format(code=code)
