"""What kind of image a volume is: read from DICOM, told by the user, or guessed and said so."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.volume import MODALITIES, Volume

DICOM_MODALITIES = {"MR": "MR", "CT": "CT", "PT": "PET", "NM": "SPECT"}
_NAME_WORDS = {
    "MR": {"mr", "mri", "t1", "t2", "pd", "flair", "t1w", "t2w", "gad", "mprage"},
    "CT": {"ct", "cta", "cbct"},
    "PET": {"pet", "fdg", "pt", "suv"},
    "SPECT": {"spect", "nm", "hmpao"},
}


def with_modality(volume: Volume, given: str | None, name: str) -> Volume:
    """The volume with its modality settled.

    ``given`` wins over DICOM, DICOM over a guess from the file's ``name`` and its values. Where
    it came from is in ``metadata``: ``modality_source`` (given, dicom or guess) and
    ``modality_reason`` (words for the report).
    """
    modality, source, reason = _settle(volume, given, name)
    metadata = dict(volume.metadata) | {"modality_source": source, "modality_reason": reason}
    return replace(volume, modality=modality, metadata=metadata)


def _settle(volume: Volume, given: str | None, name: str) -> tuple[str, str, str]:
    if given is not None:
        return _known(given), "given", "given by the user"
    dicom = volume.metadata.get("dicom_modality")
    if dicom is not None:
        return DICOM_MODALITIES.get(dicom, "unknown"), "dicom", f"DICOM modality {dicom}"
    modality, reason = guess_modality(volume.voxels, name)
    return modality, "guess", reason


def _known(given: str) -> str:
    for modality in MODALITIES:
        if given.lower() == modality.lower():
            return modality
    raise InputError(f"'{given}' is not a modality. Choose one of: {', '.join(MODALITIES)}.")


def guess_modality(voxels: np.ndarray, name: str) -> tuple[str, str]:
    """A modality and the reason for it, from words of the name, else from Hounsfield values."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    # SPECT before CT and PET: a SPECT/CT study names both, and its functional part is meant.
    for modality in ("SPECT", "PET", "CT", "MR"):
        found = words & _NAME_WORDS[modality]
        if found:
            return modality, f"guessed from '{min(found)}' in the name"
    if voxels.ndim == 3 and float(voxels.min()) <= -500:
        return "CT", "guessed from values below -500, which only Hounsfield units have"
    return "unknown", "neither the name nor the values tell"
