"""Volumes that a network made up: how they say so, and that nobody takes them for acquired ones.

The mark stands in the metadata, in the header of every file (NRRD and MetaImage under ``KEY``,
NIfTI in its description, DICOM in the series' description) and in a node's attribute ``KEY``. A
name that says so counts as well: a file may have lost its header on its way through other programs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath

from MedFusionLib.errors import IdentityError
from MedFusionLib.volumes.volume import Volume

KEY = "MedFusion.Synthetic"
"""In headers of files, and as the attribute of a node. Slicer keeps the one as the other."""
METADATA = "synthetic"
"""In ``Volume.metadata``: of what, and how the volume was made up."""
WORD = "SYNTHETIC"
"""Begins what NIfTI and DICOM tell of such a volume."""
NIFTI_LENGTH = 79
"""Characters that fit into NIfTI's description."""
_NAMED = re.compile(r"(?<![a-z])synth(?:etic|esi[sz]ed|(?![a-z]))")


def names_synthetic(*names: str) -> bool:
    """Whether a name or description says that an image is synthetic."""
    return any(_NAMED.search(name.lower()) for name in names)


def synthetic_note(volume: Volume) -> str:
    """What is told of a volume that was made up; empty for one of which nobody says so."""
    known = volume.metadata
    if note := known.get(METADATA, ""):
        return note
    names = (PurePath(known.get("source", "")).name, known.get("series_description", ""))
    return next((f"'{name}'" for name in names if names_synthetic(name)), "")


def marked(volume: Volume, note: str) -> Volume:
    """The volume with the mark; ``note`` says of what and how it was made."""
    return replace(volume, metadata={**volume.metadata, METADATA: note})


def header_note(note: str) -> dict[str, str]:
    """The mark as fields of ITK's images: its own key, and NIfTI's description."""
    if not note:
        return {}
    return {KEY: note, "ITK_FileNotes": f"{WORD} {note}"[:NIFTI_LENGTH]}


def from_header(fields: Mapping[str, str]) -> dict[str, str]:
    """The mark as metadata, from the header of an NRRD or MetaImage file."""
    return {METADATA: fields[KEY]} if fields.get(KEY) else {}


def from_description(description: str) -> dict[str, str]:
    """The mark as metadata, from NIfTI's description."""
    if not description.startswith(WORD):
        return {}
    return {METADATA: description.removeprefix(WORD).strip() or "by its header"}


def refuse_synthetic(
    volumes: Mapping[str, Volume], force: bool = False, warnings: list[str] | None = None
) -> None:
    """Raise ``IdentityError`` where a volume was made up, so that it shows nobody's body.

    ``volumes`` by their role. With ``force`` a sentence is appended to ``warnings`` instead, once.
    """
    for role, volume in volumes.items():
        if not (note := synthetic_note(volume)):
            continue
        sentence = (
            f"The {role} volume is synthetic ({note}): a network made it up, and nothing in it was "
            "measured."
        )
        if not force:
            raise IdentityError(
                f"{sentence} Choose an acquired volume. To take it all the same, go on (--force)."
            )
        told = f"{sentence} It was taken as a source because that was forced."
        if warnings is not None and told not in warnings:
            warnings.append(told)
