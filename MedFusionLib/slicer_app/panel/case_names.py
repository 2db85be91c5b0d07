"""Names of the files that a batch writes."""

from __future__ import annotations

import hashlib
import re
from enum import Enum

from MedFusionLib.slicer_app.translation import _
from MedFusionLib.volumes.pairing import Pair

DIGITS = 10
"""Of the number that stands for a pair: a billion pairs until two share one by chance."""


class Naming(Enum):
    """What a file is called after."""

    NUMBER = "number"
    PATIENT_ID = "patient_id"
    PATIENT_NAME = "patient_name"

    @staticmethod
    def label(choice: Naming) -> str:
        """The words in the panel."""
        return {
            Naming.NUMBER: _("A number that names nobody"),
            Naming.PATIENT_ID: _("Patient ID and study date"),
            Naming.PATIENT_NAME: _("Patient name, ID and study date"),
        }[choice]


def caseName(pair: Pair, method: str, naming: Naming) -> str:
    """What the fused volume of a pair is called, without its ending.

    The number is the same whenever the same two series are fused, so that what is there already is
    found again; the method is part of the name, so that no method's volume is taken for another's.
    """
    number = hashlib.sha256(f"{pair.reference.key}|{pair.other.key}".encode()).hexdigest()[:DIGITS]
    fields = {
        Naming.NUMBER: (),
        Naming.PATIENT_ID: ("patient_id",),
        Naming.PATIENT_NAME: ("patient_name", "patient_id"),
    }[naming]
    told = [pair.reference.identity.get(field, "") for field in fields]
    if fields:
        told.append(pair.reference.study_date)
    return "_".join([*filter(None, map(_plain, told)), number, method])


def _plain(text: str) -> str:
    """Letters, digits and dashes, as any file system takes them."""
    return re.sub(r"[^\w]+", "-", text.split("=")[0]).strip("-_")
