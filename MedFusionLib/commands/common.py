"""What the commands share: progress bar, JSON, exit codes."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Progress = Callable[[int, int, str], None]
COLOUR_HELP = (
    "auto (rainforest for PET and SPECT), grey, or a map: rainforest, hot, rainbow or pet-dicom."
)

GEOMETRY_HELP = "sform or qform: the position to take of NIfTI files whose two positions disagree."


def silent(done: int, total: int, message: str) -> None:
    """A progress that shows nothing (``--quiet``)."""


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """A bar on standard error with slices per second and the time left."""
    if quiet:
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeLeft(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
        tasks: dict[str, Any] = {}

        def show(done: int, total: int, message: str) -> None:
            if message not in tasks:
                tasks[message] = bar.add_task(message, total=total, speed="")
            if done < bar.tasks[tasks[message]].completed:  # the same work on the next case
                bar.reset(tasks[message], total=total, speed="")
            speed = bar.tasks[tasks[message]].speed
            text = f"{speed:.1f}/s" if speed else ""
            bar.update(tasks[message], completed=done, total=total, speed=text)

        yield show


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until the end: torch aborts the whole process when its import is interrupted."""
    held: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


def print_json(report: dict[str, Any]) -> None:
    """The report on standard output, for programs."""
    print(json.dumps(report, indent=2))


def say(message: str, quiet: bool = False) -> None:
    """A line for the person at the terminal, on standard error."""
    if not quiet:
        print(message, file=sys.stderr)
