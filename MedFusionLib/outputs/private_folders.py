"""Hidden folders in which outputs grow, each with a lock that its living owner holds.

The operating system frees a lock when its process ends, however it ends. A folder whose lock is
free was left by a run that was killed, and the next run in the same place removes it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".medfusion-"
LOCK = "owner.lock"
UNLOCKED_AGE = 24 * 3600.0
"""Seconds after which a folder without a lock counts as left over: its owner was killed before it
made the lock."""


@contextmanager
def private_folder(parent: Path) -> Iterator[Path]:
    """A new hidden folder in ``parent``, removed at the end; left-over ones go first.

    Raises ``OSError`` where none can be made.
    """
    remove_left_over(parent)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX))
    lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        # A file system without locks: nobody will take the folder for left over, either.
        with suppress(OSError):
            _take(lock)
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def remove_left_over(parent: Path) -> None:
    """Remove the private folders of dead runs; those of living ones stay."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.is_dir() and not folder.is_symlink() and _is_left_over(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_left_over(folder: Path) -> bool:
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return time.time() - folder.stat().st_mtime > UNLOCKED_AGE
    try:
        _take(lock)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def _take(lock: int) -> None:
    """Lock an open file, or raise ``OSError`` at once where another holds it."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        return
    import fcntl

    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
