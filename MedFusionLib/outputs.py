"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from MedFusionLib.errors import InputError


def refuse_unwritable_folder(folder: Path) -> None:
    """Raise ``InputError`` unless a file can be made in the folder."""
    if not folder.is_dir():
        raise InputError(f"The folder '{folder}' does not exist. Make it, or choose another.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"Nothing can be written to the folder '{folder}': {reason}.") from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A file of the same name to write in a private folder beside ``path``, moved there at the end.

    After an error nothing is left. The file gets the user's usual permissions.
    """
    refuse_unwritable_folder(path.parent)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".medfusion-") as folder:
        partial = Path(folder) / path.name
        yield partial
        os.replace(partial, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
