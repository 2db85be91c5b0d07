"""The header of an NRRD file, checked before ITK reads its voxels.

The format: "Definition of NRRD File Format", teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes import text_header as checks
from MedFusionLib.volumes.content import damaged

MAGIC = b"NRRD"
SPACES = {
    *("left-posterior-superior", "lps", "right-anterior-superior", "ras"),
    *("left-anterior-superior", "las"),
}
"""The spaces that ITK brings to LPS; it takes any other one for LPS without a word."""
COLOUR_KINDS = {"vector", "rgb-color", "rgba-color", "3-color", "4-color", "3-vector", "4-vector"}
MILLIMETRES = {"mm", "millimeter", "millimeters", "millimetre", "millimetres", ""}
TYPE_BYTES = {
    1: ("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"),
    2: (
        *("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
        *("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    ),
    4: (
        *("int", "signed int", "int32", "int32_t", "float"),
        *("uint", "unsigned int", "uint32", "uint32_t"),
    ),
    8: (
        *("longlong", "long long", "long long int", "signed long long", "signed long long int"),
        *("int64", "int64_t", "ulonglong", "unsigned long long", "unsigned long long int"),
        *("uint64", "uint64_t", "double"),
    ),
}
_BYTES = {name: count for count, names in TYPE_BYTES.items() for name in names}


def refuse_bad_nrrd(path: Path) -> None:
    """Raise ``InputError`` unless the file says and holds all that a volume needs.

    That is: three axes in millimetres of a patient space (LPS, RAS or LAS) with an origin, one to
    four values per voxel, and as many voxels, in one file, as the sizes tell; packed ones with a
    checksum that fits.
    """
    content = checks.header_bytes(path)
    fields, start = _fields(content, path)
    sizes, values = _sizes(fields, path)
    checks.refuse_wrong_dimension(sizes, path)
    checks.refuse_wrong_values(values, path)
    _refuse_no_place(fields, path)
    _refuse_wrong_data(fields, math.prod(sizes) * values, start, path)


def _fields(content: bytes, path: Path) -> tuple[dict[str, str], int]:
    """Fields by their names, spaces left out, and where the header ends."""
    end = re.search(rb"\r?\n\r?\n", content)
    text = content[: end.start() if end else len(content)].decode("latin-1")
    fields: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        name, colon, value = line.partition(": ")
        if colon and not line.startswith("#") and ":=" not in name:
            fields[name.lower().replace(" ", "")] = value.strip()
    if not {"type", "dimension", "sizes", "encoding"} <= fields.keys():
        raise damaged(path, "its header lacks the type, dimension, sizes or encoding")
    return fields, end.end() if end else len(content)


def _sizes(fields: dict[str, str], path: Path) -> tuple[list[int], int]:
    """Voxels along the axes in space, and values per voxel."""
    dimension = checks.lengths(fields["dimension"], 1, "dimension", path)[0]
    sizes = checks.lengths(fields["sizes"], dimension, "sizes", path)
    kinds = fields.get("kinds", "").lower().split()
    if dimension == 4 and kinds and kinds[0] in COLOUR_KINDS:
        return sizes[1:], sizes[0]
    return sizes, 1


def _refuse_no_place(fields: dict[str, str], path: Path) -> None:
    space = fields.get("space")
    if space is None:
        raise checks.missing(path, "space", "how its axes lie in the patient")
    if space.lower() not in SPACES:
        raise InputError(
            f"'{path}' lies in the space '{space}', which is not one of a patient. Save it in "
            "left-posterior-superior or right-anterior-superior."
        )
    if "spacedirections" not in fields:
        raise checks.missing(path, "space directions", "how its axes lie in the patient")
    if "spaceorigin" not in fields:
        raise checks.missing(path, "space origin", "where its first voxel lies")
    vectors = [_vector(text, path) for text in _vectors(fields["spacedirections"])]
    if len(vectors) != 3:
        raise damaged(path, f"its space directions are '{fields['spacedirections']}'")
    checks.refuse_flat(np.column_stack(vectors), path)
    _vector(fields["spaceorigin"], path)
    units = re.findall(r'"([^"]*)"', fields.get("spaceunits", ""))
    if any(unit.strip().lower() not in MILLIMETRES for unit in units):
        raise InputError(
            f"'{path}' counts lengths in {' and '.join(dict.fromkeys(units))}. Save it in mm."
        )


def _vectors(text: str) -> list[str]:
    return re.findall(r"\([^)]*\)", text)


def _vector(text: str, path: Path) -> np.ndarray:
    return checks.numbers(text.strip("() ").replace(",", " "), 3, "space directions", path)


def _refuse_wrong_data(fields: dict[str, str], count: int, start: int, path: Path) -> None:
    width = _BYTES.get(fields["type"].lower())
    if width is None:
        raise InputError(
            f"'{path}' holds voxels of the type '{fields['type']}', which MedFusion does not read."
        )
    detached = fields.get("datafile")
    place = path if detached is None else checks.data_file(path, detached)
    encoding = fields["encoding"].lower()
    begin = _data_start(fields, place, 0 if detached else start, encoding, path)
    if width > 1 and encoding in ("raw", "gzip", "gz") and "endian" not in fields:
        raise checks.missing(path, "endian", "in which order its bytes stand")
    if encoding == "raw":
        checks.refuse_wrong_raw(place, begin, count * width)
    elif encoding in ("gzip", "gz"):
        checks.refuse_wrong_packed(place, begin, count * width)
    elif encoding in ("ascii", "text", "txt"):
        checks.refuse_wrong_text(place, begin, count)
    else:
        raise InputError(f"'{path}' is packed by '{encoding}'. Save it raw or with gzip.")


def _data_start(fields: dict[str, str], place: Path, start: int, encoding: str, path: Path) -> int:
    """Where the voxels begin, after the lines and bytes that the header tells to skip."""
    lines, skipped = (
        int(checks.numbers(fields.get(name, "0"), 1, name, path)[0])
        for name in ("lineskip", "byteskip")
    )
    if (lines, skipped) == (0, 0):
        return start
    if lines or encoding != "raw" or skipped < -1:
        raise InputError(f"'{path}' skips lines or bytes before its voxels. Save it without.")
    return -1 if skipped == -1 else start + skipped
