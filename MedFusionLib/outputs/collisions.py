"""Outputs that would lie on an input, or on each other."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path

from MedFusionLib.errors import InputError


def refuse_collisions(outputs: Mapping[str, Path | None], inputs: Iterable[Path | None]) -> None:
    """Raise ``InputError`` where an output is an input, or two outputs are one file.

    ``outputs`` maps what a user calls each (``--aligned``) to its path; None stands for one that
    is not wanted. Links and hard links are followed, and names that differ only in upper and lower
    case count as one, as they do on many disks. A folder among the inputs stands for the files in
    it.
    """
    read = [path for path in inputs if path is not None]
    sources = {sign: path for path in read for sign in _signs(path)}
    folders = {_key(path): path for path in read if path.is_dir()}
    taken: dict[str, str] = {}
    for name, path in outputs.items():
        if path is None:
            continue
        source = next((sources[sign] for sign in _signs(path) if sign in sources), None)
        if source is None and path.is_file():
            source = folders.get(_key(path.parent))
        if source is not None:
            raise InputError(
                f"{name} '{path}' would overwrite the input '{source}'. Choose another name."
            )
        other = taken.setdefault(_key(path), name)
        if other != name:
            raise InputError(f"{name} and {other} both name '{path}'. Choose two names.")


def _signs(path: Path) -> Iterator[Hashable]:
    """What two names of one file have in common: the place they lead to, or the file itself."""
    yield _key(path)
    try:
        status = path.stat()
    except OSError:
        return
    if status.st_ino:  # some network disks number no files
        yield status.st_dev, status.st_ino


def _key(path: Path) -> str:
    return unicodedata.normalize("NFC", os.path.realpath(path)).casefold()
