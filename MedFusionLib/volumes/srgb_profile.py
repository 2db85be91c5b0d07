"""The ICC profile of sRGB, which DICOM wants beside every palette.

An input profile of version 2 (ICC.1:2001-04), as PS3.3, C.11.15 asks for: the primaries of
IEC 61966-2-1 adapted to D50, and the transfer curve of sRGB at 1024 places.
"""

from __future__ import annotations

import struct
from functools import cache

import numpy as np

CURVE_PLACES = 1024
D50 = (0.9642, 1.0, 0.8249)
D65 = (0.9505, 1.0, 1.0891)
# Columns: XYZ of red, green and blue under D65 (IEC 61966-2-1).
_PRIMARIES = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
# Cone responses of XYZ (Bradford), in which one white is adapted to another.
_CONES = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@cache
def srgb_profile() -> bytes:
    """The profile's bytes; the same each time."""
    curve = _curve()
    red, green, blue = _adapted_primaries().T
    tags = {
        b"desc": _description("sRGB"),
        b"cprt": b"text\0\0\0\0No copyright, use freely.\0",
        b"wtpt": _xyz(D50),
        b"rXYZ": _xyz(red),
        b"gXYZ": _xyz(green),
        b"bXYZ": _xyz(blue),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    return _assembled(tags)


def _adapted_primaries() -> np.ndarray:
    """(3, 3): the primaries as they look under D50, the white of ICC's connection space."""
    gains = (_CONES @ D50) / (_CONES @ D65)
    return np.linalg.inv(_CONES) @ np.diag(gains) @ _CONES @ _PRIMARIES


def _curve() -> bytes:
    """Light of each displayed value (IEC 61966-2-1)."""
    shown = np.linspace(0, 1, CURVE_PLACES)
    light = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    entries = np.rint(light * 65535).astype(">u2").tobytes()
    return b"curv\0\0\0\0" + struct.pack(">I", CURVE_PLACES) + entries


def _xyz(values) -> bytes:
    fixed = [round(float(value) * 65536) for value in values]
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *fixed)


def _description(text: str) -> bytes:
    name = text.encode("ascii") + b"\0"
    # Neither a Unicode nor a Macintosh form of the name.
    return b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(8 + 3 + 67)


def _assembled(tags: dict[bytes, bytes]) -> bytes:
    """Header, table of tags and their data, each at a multiple of four bytes."""
    places: dict[bytes, int] = {}
    data = b""
    start = 128 + 4 + 12 * len(tags)
    for content in tags.values():
        if content not in places:
            places[content] = start + len(data)
            data += content + bytes(-len(content) % 4)
    table = struct.pack(">I", len(tags)) + b"".join(
        tag + struct.pack(">2I", places[content], len(content)) for tag, content in tags.items()
    )
    size = 128 + len(table) + len(data)
    header = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02100000, b"scnr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += _xyz(D50)[8:]
    return header.ljust(128, b"\0") + table + data
