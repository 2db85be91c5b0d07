"""What the readers of NRRD and MetaImage files share before ITK reads their voxels.

ITK takes a header's word: it fills in what is missing (a spacing of 1, a corner at 0, the
directions of its own axes), passes over units and scales, and does not look at checksums. These
checks refuse such files; they change nothing that is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.content import damaged, refuse_other_length, unpacked_length

LONGEST_HEADER = 1 << 20


def header_bytes(path: Path) -> bytes:
    """The start of a file, long enough for any header."""
    try:
        with path.open("rb") as file:
            return file.read(LONGEST_HEADER)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}.") from error


def numbers(text: str, count: int, name: str, path: Path) -> np.ndarray:
    """(count,) finite numbers of a field."""
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError:
        values = np.array([])
    if len(values) != count or not np.isfinite(values).all():
        raise damaged(path, f"its field '{name}' holds '{text}' and not {count} numbers")
    return values


def lengths(text: str, count: int, name: str, path: Path) -> list[int]:
    """Numbers of voxels along each axis."""
    values = numbers(text, count, name, path)
    if (values < 1).any() or (values != np.rint(values)).any():
        raise damaged(path, f"its field '{name}' holds '{text}'")
    return [int(value) for value in values]


def refuse_flat(columns: np.ndarray, path: Path) -> None:
    """Raise ``InputError`` unless three axes (the columns) span space."""
    edges = np.linalg.norm(columns, axis=0)
    if not edges.all() or abs(np.linalg.det(columns / edges)) < 1e-6:
        raise InputError(f"The axes of '{path}' do not span space. Convert its source again.")


def missing(path: Path, field: str, what: str) -> InputError:
    """The refusal of a file that does not say where its voxels lie."""
    return InputError(
        f"'{path}' does not say {what} (no '{field}'), and a guess could turn left into right. "
        f"Convert its source again, or add the field if you know its value."
    )


def data_file(header: Path, named: str) -> Path:
    """The file beside a detached header that holds its voxels."""
    if any(sign in named for sign in "%*?") or named.split(" ")[0].upper() == "LIST":
        raise InputError(f"'{header}' has its voxels in several files. Convert it to one file.")
    place = header.parent / named
    if not place.is_file():
        raise InputError(
            f"'{header}' has its voxels in '{named}', which is not there. Put it beside the header."
        )
    return place


def refuse_wrong_raw(place: Path, start: int, needed: int) -> None:
    """Voxels as they are: from byte ``start`` (-1: whatever lies before them) to the end."""
    size = place.stat().st_size
    if start >= 0:
        refuse_other_length(size - start, needed, place)
    elif size < needed:
        refuse_other_length(size, needed, place)


def refuse_wrong_packed(place: Path, start: int, needed: int) -> None:
    """Voxels packed by zlib or gzip, from byte ``start`` to the end."""
    packed = memoryview(place.read_bytes())[start:]
    refuse_other_length(unpacked_length(packed, place), needed, place)


def refuse_wrong_text(place: Path, start: int, count: int) -> None:
    """Voxels as words of text, from byte ``start`` to the end."""
    refuse_other_length(len(place.read_bytes()[start:].split()), count, place)


def refuse_wrong_values(values: int, path: Path) -> None:
    """Raise ``InputError`` for other than one value, or three or four of a colour, per voxel."""
    if values not in (1, 3, 4):
        raise InputError(
            f"'{path}' holds {values} values per voxel. MedFusion reads one (scalar) or three and "
            "four (colour)."
        )


def refuse_wrong_dimension(sizes: Sequence[int], path: Path) -> None:
    """Raise ``InputError`` for other than three dimensions of at least two voxels."""
    text = "×".join(map(str, sizes))
    if len(sizes) > 3:
        raise InputError(
            f"'{path}' holds an image of {len(sizes)}D ({text}), such as time points. Save one of "
            "them as a 3D volume."
        )
    if len(sizes) < 3 or min(sizes) < 2:
        raise InputError(
            f"'{path}' holds a single slice ({text}). MedFusion needs a volume of at least two "
            "slices along each axis."
        )
