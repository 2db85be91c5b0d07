"""The header of a MetaImage file (.mha, .mhd), checked before ITK reads its voxels.

The format: "MetaIO" of ITK's documentation, itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

import math
from pathlib import Path

from MedFusionLib.errors import InputError
from MedFusionLib.volumes import text_header as checks
from MedFusionLib.volumes.content import damaged

SUFFIXES = (".mha", ".mhd")
DIRECTIONS = ("transformmatrix", "rotation", "orientation")
ORIGINS = ("offset", "position", "origin")
SPACINGS = ("elementspacing", "elementsize")
TYPE_BYTES = {
    **dict.fromkeys(("char", "uchar"), 1),
    **dict.fromkeys(("short", "ushort"), 2),
    **dict.fromkeys(("int", "uint", "float"), 4),
    **dict.fromkeys(("long_long", "ulong_long", "double"), 8),
}
"""Of MET_CHAR and so on; MET_LONG has another width on Windows."""


def refuse_bad_metaimage(path: Path) -> None:
    """Raise ``InputError`` unless the file says and holds all that a volume needs.

    That is: three axes with spacing, directions and origin in millimetres, one to four values per
    voxel, unscaled, and as many voxels, in one file, as the sizes tell; packed ones with a checksum
    that fits.
    """
    fields, start = _fields(checks.header_bytes(path), path)
    dimensions = checks.lengths(fields.get("ndims", ""), 1, "NDims", path)[0]
    sizes = checks.lengths(fields.get("dimsize", ""), dimensions, "DimSize", path)
    checks.refuse_wrong_dimension(sizes, path)
    channels = fields.get("elementnumberofchannels", "1")
    values = checks.lengths(channels, 1, "ElementNumberOfChannels", path)[0]
    checks.refuse_wrong_values(values, path)
    _refuse_no_place(fields, path)
    _refuse_scaled(fields, path)
    _refuse_wrong_data(fields, math.prod(sizes) * values, start, path)


def _fields(content: bytes, path: Path) -> tuple[dict[str, str], int]:
    """Fields by their names in lower case, and where the header ends."""
    fields: dict[str, str] = {}
    start = 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        name, _, value = content[start:end].decode("latin-1").partition("=")
        key = name.strip().lower()
        if key in fields:
            raise damaged(path, f"its header names '{name.strip()}' twice")
        fields[key] = value.strip()
        start = end + 1
        if key == "elementdatafile":
            return fields, start
    raise InputError(
        f"'{path}' cannot be read as a MetaImage: it is truncated, or of another format. Export it "
        "again."
    )


def _one_of(fields: dict[str, str], names: tuple[str, ...], path: Path, what: str) -> str:
    found = [name for name in names if name in fields]
    if not found:
        raise checks.missing(path, _TITLES[names[0]], what)
    if len({fields[name] for name in found}) > 1:
        raise damaged(path, f"its fields {' and '.join(found)} contradict each other")
    return fields[found[0]]


_TITLES = {
    "transformmatrix": "TransformMatrix",
    "offset": "Offset",
    "elementspacing": "ElementSpacing",
}


def _refuse_no_place(fields: dict[str, str], path: Path) -> None:
    if "elementspacing" in fields:
        spacing_text = fields["elementspacing"]
    else:
        spacing_text = _one_of(fields, SPACINGS, path, "how far its voxels lie apart")
    spacing = checks.numbers(spacing_text, 3, "ElementSpacing", path)
    if (spacing <= 0).any():
        raise InputError(
            f"The voxels of '{path}' lie {spacing_text} mm apart. Convert its source again."
        )
    directions = _one_of(fields, DIRECTIONS, path, "how its axes lie in the patient")
    matrix = checks.numbers(directions, 9, "TransformMatrix", path)
    checks.refuse_flat(matrix.reshape(3, 3).T, path)
    origin = _one_of(fields, ORIGINS, path, "where its first voxel lies")
    checks.numbers(origin, 3, "Offset", path)
    unit = fields.get("distanceunits", "mm")
    if unit.lower() not in ("mm", "?"):
        raise InputError(f"'{path}' counts lengths in {unit}. Save it in mm.")


def _refuse_scaled(fields: dict[str, str], path: Path) -> None:
    """ITK would pass over a scale and give the stored values."""
    for name, neutral in (("slope", 1.0), ("offset", 0.0)):
        text = fields.get(f"elementtointensityfunction{name}", str(neutral))
        if checks.numbers(text, 1, "ElementToIntensityFunction", path)[0] != neutral:
            raise InputError(
                f"'{path}' holds scaled values (ElementToIntensityFunction). Save it unscaled."
            )


def _refuse_wrong_data(fields: dict[str, str], count: int, start: int, path: Path) -> None:
    kind = fields.get("elementtype", "").upper()
    width = TYPE_BYTES.get(kind.removeprefix("MET_").removesuffix("_ARRAY").lower())
    if width is None:
        raise InputError(
            f"'{path}' holds voxels of the type '{kind}', which MedFusion cannot read."
        )
    named = fields["elementdatafile"]
    is_local = named.upper() in ("LOCAL", "LOCAL_DATA")
    place = path if is_local else checks.data_file(path, named)
    begin = start if is_local else _skipped(fields, path)
    if _is_true(fields.get("compresseddata")):
        _refuse_wrong_packed_size(fields, place, begin, path)
        checks.refuse_wrong_packed(place, begin, count * width)
    elif _is_true(fields.get("binarydata", "True")):
        checks.refuse_wrong_raw(place, begin, count * width)
    else:
        # ITK would swap the bytes of numbers that it has read from text.
        raise InputError(f"'{path}' holds its voxels as text. Save it in binary.")


def _skipped(fields: dict[str, str], path: Path) -> int:
    skipped = int(checks.numbers(fields.get("headersize", "0"), 1, "HeaderSize", path)[0])
    if skipped < -1:
        raise damaged(path, f"its HeaderSize is {skipped}")
    return skipped


def _refuse_wrong_packed_size(fields: dict[str, str], place: Path, begin: int, path: Path) -> None:
    if begin < 0:
        raise damaged(path, "its HeaderSize is -1 and its voxels are packed")
    if "compresseddatasize" in fields:
        told = checks.lengths(fields["compresseddatasize"], 1, "CompressedDataSize", path)[0]
        if told != place.stat().st_size - begin:
            raise damaged(path, f"it does not hold the {told:,} packed bytes that its header tells")


def _is_true(text: str | None) -> bool:
    return (text or "F")[0] in "Tt1"


def looks_like_metaimage(start: bytes) -> bool:
    """Whether a file begins like a MetaImage header."""
    first = start.split(b"\n", 1)[0].split(b"=")[0].strip().lower()
    return first in (b"objecttype", b"ndims", b"comment")
