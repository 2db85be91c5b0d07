"""Files that say nothing of their voxels' size, which readers would take for 1 mm."""

from __future__ import annotations

import re
from pathlib import Path

from MedFusionLib.errors import InputError

HEADER_BYTES = 1 << 16
"""Text headers are far shorter than this."""
_TIFF = (".tif", ".tiff")
_RULES = {
    # What marks the format, the line that is wanted (MetaImage has an older name for it), and the
    # end of the text header.
    (".mha", ".mhd"): (
        rb"(?mi)^\s*NDims\s*=",
        rb"(?mi)^\s*Element(Spacing|Size)\s*=\s*\S",
        rb"(?mi)^\s*ElementDataFile",
    ),
    (".nrrd", ".nhdr"): (
        rb"\ANRRD",
        rb"(?mi)^(space directions|spacings)\s*:\s*\S",
        rb"\r?\n\r?\n",
    ),
}


def refuse_missing_spacing(path: Path) -> None:
    """Raise ``InputError`` for a TIFF, MetaImage or NRRD file without the size of its voxels."""
    suffix = path.suffix.lower()
    if suffix in _TIFF:
        raise InputError(
            f"'{path}' is a TIFF, which says neither how far its slices lie apart nor where they "
            "lie in the patient. Convert it, with the right spacing, to NRRD or NIfTI."
        )
    for suffixes, (mark, wanted, end) in _RULES.items():
        header = re.split(end, _start(path), maxsplit=1)[0] if suffix in suffixes else b""
        if re.search(mark, header) and not re.search(wanted, header):
            raise InputError(
                f"'{path}' does not say how far its voxels lie apart. Save it again with its "
                "spacing in mm."
            )


def _start(path: Path) -> bytes:
    """The first bytes; none of a file that cannot be read, which is for its reader to refuse."""
    try:
        with path.open("rb") as file:
            return file.read(HEADER_BYTES)
    except OSError:
        return b""
