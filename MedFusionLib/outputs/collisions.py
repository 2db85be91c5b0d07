"""Outputs that would lie on an input, or on each other."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
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
    taken: dict[str, str] = {}
    for name, path in outputs.items():
        if path is None:
            continue
        for source in read:
            if _is_one(path, source) or _is_file_of(path, source):
                raise InputError(
                    f"{name} '{path}' would overwrite the input '{source}'. Choose another name."
                )
        key = _key(path)
        if key in taken:
            raise InputError(f"{name} and {taken[key]} both name '{path}'. Choose two names.")
        taken[key] = name


def _is_one(path: Path, source: Path) -> bool:
    if _key(path) == _key(source):
        return True
    try:
        return os.path.samefile(path, source)
    except OSError:
        return False


def _is_file_of(path: Path, folder: Path) -> bool:
    """Whether a file that is there already lies in a folder that is read."""
    return path.is_file() and folder.is_dir() and path.resolve().parent == folder.resolve()


def _key(path: Path) -> str:
    return unicodedata.normalize("NFC", os.path.realpath(path)).casefold()
