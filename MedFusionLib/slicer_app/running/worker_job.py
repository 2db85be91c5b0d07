"""One request of the panel to the worker process, from its submission to its one end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from MedFusionLib.errors import Cancelled, MedFusionError
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.volumes.volume import Volume


def cancelled() -> Cancelled:
    """What a job ends with that was stopped."""
    return Cancelled(_("The run was cancelled; nothing was changed."))


class WorkerError(MedFusionError):
    """The worker process failed in a way that says nothing about the volumes."""


class Canceller(Protocol):
    """Whoever can stop a job: the client that took it."""

    def cancel(self, job: Job) -> None:
        """See ``Job.cancel``."""
        ...

    def abandon(self, job: Job) -> None:
        """See ``Job.abandon``."""
        ...


def ignore(*arguments: Any) -> None:
    """For callers that do not ask to be told."""


def receiveAtOnce(result: dict[str, Any]) -> Iterator[None]:
    """For callers to whom the result is as good as it comes."""
    return iter(())


class Job:
    """One request on its way. ``cancel`` may be called at any time and more than once.

    The callbacks are those of ``WorkerClient.submit``.
    """

    def __init__(
        self,
        client: Canceller,
        number: int,
        volumes: list[Volume],
        *,
        onProgress: Callable[[int, int, str], None] | None,
        onDone: Callable[[dict[str, Any]], None] | None,
        onError: Callable[[MedFusionError], None] | None,
        onWritten: Callable[[], None] | None,
        receive: Callable[[dict[str, Any]], Iterator[None]] | None,
    ) -> None:
        self._client = client
        self.number = number
        self.volumes = volumes
        self.transforms: list[Any] = []
        """Those that were written for it."""
        self.onProgress = onProgress or ignore
        self.onWritten = onWritten or ignore
        self.receive = receive or receiveAtOnce
        self._onDone = onDone or ignore
        self._onError = onError or ignore
        self.running = True
        self.cancelling = False
        self.receiving = False
        self.result: dict[str, Any] | None = None
        self.error: MedFusionError | None = None

    def cancel(self) -> None:
        """Stop between two batches; at the second call, or after 2 s, kill the process."""
        self._client.cancel(self)

    def abandon(self) -> None:
        """Let the job go: nothing is called any more, and the process is not killed for it."""
        self._client.abandon(self)

    def forget(self) -> None:
        """Call nobody from now on."""
        self.onProgress = self._onDone = self._onError = ignore

    def finish(self, result: dict[str, Any] | None, error: MedFusionError | None) -> None:
        """Called once by the client."""
        self.running = False
        self.result, self.error = result, error
        if error is not None:
            self._onError(error)
        else:
            self._onDone(result)
