"""The bytes of a file, unpacked where they are gzip, with every length and checksum looked at."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from MedFusionLib.errors import InputError

GZIP = b"\x1f\x8b"
ZLIB_OR_GZIP = zlib.MAX_WBITS + 32
CHUNK = 1 << 22


def whole_content(path: Path) -> bytearray:
    """All bytes of a file, unpacked if it is a gzip file.

    Raises ``InputError`` for a packed file that is cut off or whose checksum does not fit.
    """
    content = bytearray()
    try:
        with path.open("rb") as file, _unpacking(file, path) as stream:
            while chunk := stream.read(CHUNK):
                content += chunk
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, str(error)) from error
    return content


def first_bytes(path: Path, count: int) -> bytes:
    """The first bytes, unpacked; fewer where the file is shorter or cannot be unpacked."""
    try:
        with path.open("rb") as file, _unpacking(file, path) as stream:
            return stream.read(count)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return b""
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}.") from error


def _unpacking(file, path: Path):
    packed = file.read(2) == GZIP
    file.seek(0)
    return gzip.GzipFile(filename="", fileobj=file, mode="rb") if packed else file


def unpacked_length(packed: bytes | memoryview, path: Path) -> int:
    """Number of bytes that one zlib or gzip stream holds, which has to fill ``packed`` exactly.

    Raises ``InputError`` where it is cut off, its checksum does not fit, or more follows.
    """
    unpacker = zlib.decompressobj(ZLIB_OR_GZIP)
    length = 0
    try:
        for start in range(0, len(packed), CHUNK):
            rest: bytes | memoryview = packed[start : start + CHUNK]
            while rest:
                length += len(unpacker.decompress(rest, CHUNK))
                rest = unpacker.unconsumed_tail
        length += len(unpacker.flush())
    except zlib.error as error:
        raise damaged(path, str(error)) from error
    if not unpacker.eof:
        raise damaged(path, "its packed data end too soon")
    if unpacker.unused_data:
        raise damaged(path, "something follows its packed data")
    return length


def refuse_other_length(found: int, needed: int, path: Path) -> None:
    """Raise ``InputError`` unless a file holds as many bytes of voxels as its header tells."""
    if found < needed:
        raise InputError(
            f"'{path}' is truncated: it holds {found:,} of {needed:,} bytes. Export it again."
        )
    if found > needed:
        raise damaged(path, f"it holds {found:,} bytes where its header tells of {needed:,}")


def damaged(path: Path, reason: str) -> InputError:
    """The refusal of a file whose content contradicts itself."""
    return InputError(f"'{path}' is truncated or damaged ({reason}). Export it again.")
