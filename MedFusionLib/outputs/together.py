"""Files and folders that appear together or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from MedFusionLib.errors import InputError, last_line
from MedFusionLib.outputs.private_folders import private_folder


def refuse_unwritable_folder(folder: Path) -> None:
    """Raise ``InputError`` unless a file can be made in the folder."""
    try:
        if not folder.is_dir():
            raise InputError(f"The folder '{folder}' does not exist. Make it, or choose another.")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"Nothing can be written to the folder '{folder}': {reason}.") from error


def refuse_unwritable_file(path: Path) -> None:
    """Raise ``InputError`` unless a file of that name can be made there."""
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            raise InputError(f"'{path}' is a folder. Give the name of a file in it.")
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # a name longer than the file system takes
        raise InputError(f"'{path}' cannot be written: {error.strerror or error}.") from error
    refuse_unwritable_folder(path.parent)


@dataclass(frozen=True)
class _Output:
    """Something written aside, and where it goes."""

    partial: Path
    target: Path


class Outputs:
    """Where to write what shall appear together; see ``together``."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._private: dict[Path, Path] = {}
        self._planned: list[_Output] = []
        self._spread: list[_Output] = []
        self._made: list[Path] = []
        self._filled: list[Path] = []

    def file(self, path: Path) -> Path:
        """Where to write the file that shall appear at ``path``; it has the same name."""
        refuse_unwritable_file(path)
        return self._plan(path)

    def folder(self, path: Path) -> Path:
        """An empty folder to fill, which shall appear as the new or empty folder ``path``."""
        if path.is_dir() and any(path.iterdir()):
            raise InputError(f"The folder '{path}' is not empty. Choose a new or an empty folder.")
        refuse_unwritable_folder(path.parent)
        partial = self._plan(path)
        partial.mkdir()
        return partial

    def files_into(self, path: Path) -> Path:
        """An empty folder; what is written to it shall appear in ``path``, beside what is there.

        ``path`` is made if it is missing, and its parent is there.
        """
        if path.exists() and not path.is_dir():
            raise InputError(f"'{path}' is a file. Name a folder.")
        partial = self._aside(path if path.is_dir() else path.parent, path.name)
        partial.mkdir()
        self._spread.append(_Output(partial, path))
        return partial

    def _plan(self, path: Path) -> Path:
        partial = self._aside(path.parent, path.name)
        self._planned.append(_Output(partial, path))
        return partial

    def _aside(self, parent: Path, name: str) -> Path:
        """A path of that name in a private folder on the same file system."""
        if parent not in self._private:
            refuse_unwritable_folder(parent)
            self._private[parent] = self._stack.enter_context(private_folder(parent))
        # A folder of its own for each: two outputs may have one name in two places.
        return Path(tempfile.mkdtemp(dir=self._private[parent])) / name

    def publish(self) -> None:
        """Move everything to its place, or, if one thing cannot be moved, nothing.

        The first output comes last: where it is, the others are.
        """
        for spread in self._spread:
            self._planned += [
                _Output(file, spread.target / file.name)
                for file in sorted(spread.partial.iterdir())
            ]
        for output in self._planned:
            _bring_to_disk(output.partial)
        done: list[tuple[_Output, Path | None]] = []
        try:
            for spread in self._spread:
                if not spread.target.is_dir():
                    spread.target.mkdir()
                    self._made.append(spread.target)
            for output in reversed(self._planned):
                before = _kept_aside(output)
                if output.target.is_dir() and output.partial.is_dir():
                    output.target.rmdir()
                    self._filled.append(output.target)
                os.replace(output.partial, output.target)
                done.append((output, before))
        except BaseException:
            self._take_back(done)
            raise

    def _take_back(self, done: list[tuple[_Output, Path | None]]) -> None:
        for output, before in reversed(done):
            with suppress(OSError):
                if before is not None:
                    os.replace(before, output.target)
                elif output.target.is_dir():
                    os.replace(output.target, output.partial)
                else:
                    output.target.unlink()
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()
        for folder in self._filled:
            with suppress(OSError):
                folder.mkdir()


@contextmanager
def together() -> Iterator[Outputs]:
    """Outputs that appear together when the block ends well, and not at all otherwise.

    ``with together() as outputs: write_volume(volume, outputs.file(path))``. Everything is written
    into private folders beside its target and renamed at the end. Raises ``InputError`` for a full
    disk and the like; what stood at the targets before is then as it was.
    """
    with ExitStack() as stack:
        outputs = Outputs(stack)
        try:
            yield outputs
            outputs.publish()
        except OSError as error:
            reason = error.strerror or last_line(error)
            name = f" ('{Path(error.filename).name}')" if error.filename else ""
            raise InputError(f"Nothing was written: {reason}{name}.") from error


def _bring_to_disk(path: Path) -> None:
    """Some file systems tell only now that there is no room."""
    if path.is_dir():
        for part in path.iterdir():
            _bring_to_disk(part)
        return
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _kept_aside(output: _Output) -> Path | None:
    """A second name of the file that is about to be replaced, to bring it back by."""
    if not output.target.is_file():
        return None
    kept = Path(tempfile.mkdtemp(dir=output.partial.parent)) / "before"
    try:
        os.link(output.target, kept)
    except OSError:  # a file system without hard links
        shutil.copy2(output.target, kept)
    return kept


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A file of the same name to write in a private folder beside ``path``, moved there at the end.

    After an error nothing is left. The file gets the user's usual permissions.
    """
    with together() as outputs:
        yield outputs.file(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all, and see that it can be read back."""
    content = text.encode("utf-8")
    with written_whole(path) as partial:
        partial.write_bytes(content)
        if partial.read_bytes() != content:
            raise InputError(f"'{path.name}' could not be written: what was read back differs.")
