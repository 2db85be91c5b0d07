"""Many pairs of DICOM series fused one after the other, in a process of their own.

The process reads the series' files by itself: nothing is loaded into the scene, and the panel can
be used meanwhile. A case that is refused, or that ends its process, does not stop the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from MedFusionLib.batch.cases import DONE, FAILED, SKIPPED, Outcome, summary_text
from MedFusionLib.batch.checks import refuse_bad_folder
from MedFusionLib.errors import Cancelled, IdentityError, InputError, MedFusionError
from MedFusionLib.outputs import refuse_unwritable_folder, write_text
from MedFusionLib.outputs.private_folders import remove_left_over
from MedFusionLib.slicer_app.running.worker_client import WorkerClient
from MedFusionLib.slicer_app.running.worker_job import WorkerError
from MedFusionLib.slicer_app.translation import _

SUMMARY = "summary.csv"
SUFFIX = ".nrrd"
MOST_CRASHES = 3
"""So many cases in a row whose process failed end the batch: the computer is at fault, not they."""


@dataclass(frozen=True)
class PlannedCase:
    """One pair of the batch: the name of its output, its two series, and how they are aligned."""

    name: str
    reference: str
    """The UID of the series."""
    other: str
    alignment: str


class BatchJob:
    """Runs from ``start`` to its one ``onDone(outcomes)``; ``cancel`` ends it after what is done.

    ``later(function)`` calls a function in a turn of its own, so that the window lives between two
    cases. ``filesOf(uid)`` lists the files of a series, or raises a ``MedFusionError``.
    ``settings`` are those of ``MedFusionLib.fusion.fuse`` without the alignment. ``onCase(index)``
    is called as a case begins, ``onProgress(index, done, total, message)`` within it,
    ``onOutcome(index, outcome, report)`` at its end; ``report`` is None unless it was fused. Files
    that are there already are kept unless ``overwrite``. ``FOLDER/summary.csv`` tells what is done
    after each case, and names nobody.
    """

    def __init__(
        self,
        client: WorkerClient,
        later: Callable[[Callable[[], None]], None],
        cases: Sequence[PlannedCase],
        folder: Path,
        settings: Mapping[str, Any],
        filesOf: Callable[[str], Sequence[Path]],
        overwrite: bool,
        onCase: Callable[[int], None],
        onProgress: Callable[[int, int, int, str], None],
        onOutcome: Callable[[int, Outcome, Mapping[str, Any] | None], None],
        onDone: Callable[[list[Outcome]], None],
    ) -> None:
        self._client = client.another()
        self._callLater = later
        self._cases = list(cases)
        self._folder = folder
        self._settings = dict(settings)
        self._filesOf = filesOf
        self._overwrite = overwrite
        self._onCase, self._onProgress = onCase, onProgress
        self._onOutcome, self._onDone = onOutcome, onDone
        self._outcomes: list[Outcome] = []
        self._told: list[Outcome] = []
        self._job: Any = None
        self._begun = 0.0
        self._crashes = 0
        self.running = False
        self.cancelled = False
        self.summaryProblem: str | None = None
        """Why the summary is not complete, if so."""

    def start(self) -> None:
        """Begin with the first case; raises ``InputError`` where no output could be written."""
        names = [case.name for case in self._cases]
        if len(set(names)) < len(names):
            raise InputError(_("Two cases would be written to one file. Choose other names."))
        refuse_bad_folder(self._folder)
        self._folder.mkdir(exist_ok=True)
        refuse_unwritable_folder(self._folder)
        self.running = True
        self._next()

    def cancel(self) -> None:
        """Stop the case in progress, of which nothing is written, and begin no other."""
        self.cancelled = True
        if self._job is not None:
            self._job.cancel()

    def end(self) -> None:
        """Leave neither a process nor a file behind, and call nobody any more."""
        self.running = False
        self._job = None
        self._client.close()
        remove_left_over(self._folder)

    def pathOf(self, case: PlannedCase) -> Path:
        """Where a case's fused volume is written."""
        return self._folder / f"{case.name}{SUFFIX}"

    def _next(self) -> None:
        index = len(self._outcomes)
        if self.cancelled or index == len(self._cases):
            outcomes = self._outcomes
            self.end()
            self._onDone(outcomes)
            return
        case = self._cases[index]
        self._begun = time.monotonic()
        self._onCase(index)
        if self.pathOf(case).exists() and not self._overwrite:
            self._later(lambda: self._finish(SKIPPED))
            return
        try:
            files = {
                "reference_files": [str(file) for file in self._filesOf(case.reference)],
                "other_files": [str(file) for file in self._filesOf(case.other)],
            }
        except MedFusionError as error:
            # An except clause forgets its error before it is told.
            self._later(lambda error=error: self._finish(FAILED, error=error))
            return
        self._job = self._client.submit(
            "fuse_series",
            {},
            onProgress=lambda *progress: self._onProgress(index, *progress),
            onDone=lambda result: self._finish(DONE, result["report"]),
            onError=self._onError,
            case=case.name,
            path=str(self.pathOf(case)),
            settings={**self._settings, "alignment": case.alignment},
            **files,
        )

    def _later(self, function: Callable[[], None]) -> None:
        self._callLater(lambda: function() if self.running else None)

    def _onError(self, error: MedFusionError) -> None:
        if not self.running:
            return
        if isinstance(error, Cancelled) and self.cancelled:
            self._job = None
            self._later(self._next)
            return
        self._finish(FAILED, error=error)

    def _finish(
        self,
        status: str,
        report: Mapping[str, Any] | None = None,
        error: MedFusionError | None = None,
    ) -> None:
        self._job = None
        index = len(self._outcomes)
        case = self._cases[index]
        outcome = Outcome(
            case.name,
            status,
            time.monotonic() - self._begun,
            "" if status == FAILED else str(self.pathOf(case)),
            "" if error is None else str(error),
        )
        self._outcomes.append(outcome)
        self._writeSummary(error)
        self._onOutcome(index, outcome, report)
        self._crashes = self._crashes + 1 if isinstance(error, WorkerError) else 0
        self.cancelled = self.cancelled or self._crashes == MOST_CRASHES
        self._later(self._next)

    def _writeSummary(self, error: MedFusionError | None) -> None:
        """Tell in a file what is done so far; names of patients stay out of it."""
        if isinstance(error, IdentityError):
            told = _("The headers of the two series name different patients.")
            self._told.append(replace(self._outcomes[-1], error=told))
        else:
            self._told.append(self._outcomes[-1])
        try:
            write_text(self._folder / SUMMARY, summary_text(self._told))
        except MedFusionError as problem:
            # The cases themselves are as good as without it.
            self.summaryProblem = str(problem)
