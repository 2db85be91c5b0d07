"""Where the traceback of an unexpected error goes: a private file in the user's state folder."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from MedFusionLib.version import __version__

KEPT = 20
"""Logs that stay; older ones go."""


def bug_sentence(error: BaseException) -> str:
    """Write the log of an unexpected error; what to tell the user of it."""
    told = f"This is a bug of MedFusion ({type(error).__name__}: {error})."
    log = write_bug_log(error)
    if log is None:
        return f"{told} No log could be written; run it again with room in {log_folder()}."
    return f"{told} Please report it with the log '{log}', which names your files."


def write_bug_log(error: BaseException) -> Path | None:
    """Write version, command and traceback to a file that only the user can read."""
    text = "\n".join(
        [
            f"MedFusion {__version__}, Python {platform.python_version()}, {platform.platform()}",
            f"Command: {sys.argv}",
            *traceback.format_exception(type(error), error, error.__traceback__),
        ]
    )
    for folder in (log_folder(), Path(tempfile.gettempdir())):
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_old(folder.glob("medfusion-error-*.log"))
            stamp = time.strftime("%Y%m%d-%H%M%S")
            place, path = tempfile.mkstemp(".log", f"medfusion-error-{stamp}-", folder)
            with os.fdopen(place, "w", encoding="utf-8") as file:
                file.write(text)
            return Path(path)
    return None


def log_folder() -> Path:
    """The user's own folder for what programs keep of their runs."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = home / "Library" / "Logs"
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or home / ".local" / "state")
    return base / "medfusion"


def _remove_old(logs: Iterable[Path]) -> None:
    for log in sorted(logs)[: -KEPT + 1]:
        with suppress(OSError):
            log.unlink()
