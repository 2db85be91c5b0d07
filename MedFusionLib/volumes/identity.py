"""Whether two volumes show the same person, as far as their headers tell."""

from __future__ import annotations

import re
from collections.abc import Mapping

from MedFusionLib.errors import IdentityError
from MedFusionLib.volumes.volume import Volume

IDENTITY_FIELDS = {
    "patient_id": "ID",
    "patient_name": "name",
    "patient_birth_date": "birth date",
    "patient_sex": "sex",
}
_TELLS_NOTHING = re.compile(
    r"|(x|0|\?|-|\*)+|anon\w*|unknown|none|null|nil|na|n/a|removed|deleted|"
    r"de-?identified|not available|no ?name|patient|o|u|other"
)
"""Lower-case texts, wholly matched, that stand where a field was emptied."""
_NO_BIRTH_DATES = ("19000101", "00010101", "00000000", "18000101")


def refuse_two_patients(
    reference: Volume,
    other: Volume,
    force: bool,
    warnings: list[str] | None = None,
    roles: tuple[str, str] = ("reference", "other"),
) -> None:
    """Raise ``IdentityError`` where headers say that the volumes show two people.

    ``roles`` are what the sentence calls them. With ``force`` it is appended to ``warnings``
    instead. Fields that are missing, emptied or anonymised in either volume tell nothing.
    """
    differing = differing_fields(reference.metadata, other.metadata)
    if not differing:
        return
    sentence = (
        f"The two volumes name different patients ({', '.join(differing)} differ): the {roles[0]} "
        f"{_described(reference.metadata)}, the {roles[1]} {_described(other.metadata)}."
    )
    if not force:
        raise IdentityError(
            f"{sentence} Choose volumes of one patient. If they are of one patient all the same, "
            "go on (--force)."
        )
    if warnings is not None:
        warnings.append(f"{sentence} They were taken as one because that was forced.")


def differing_fields(one: Mapping[str, str], two: Mapping[str, str]) -> list[str]:
    """Names of the identity fields that both volumes give, and give differently."""
    if _is_removed(one) != _is_removed(two):
        return []
    return [
        words
        for field, words in IDENTITY_FIELDS.items()
        if (first := _comparable(one, field))
        and (second := _comparable(two, field))
        and first != second
    ]


def patient_key(metadata: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Patient ID, name and birth date as far as they tell; equal for series of one patient only.

    None where they do not tell a patient from others: without an ID, a name needs a birth date.
    """
    identifier, name, birth_date = (
        _comparable(metadata, field)
        for field in ("patient_id", "patient_name", "patient_birth_date")
    )
    return (identifier, name, birth_date) if identifier or (name and birth_date) else None


def _is_removed(metadata: Mapping[str, str]) -> bool:
    """A volume whose identity was taken away cannot be compared with one that has it still."""
    return metadata.get("patient_identity_removed", "").upper() == "YES"


def _comparable(metadata: Mapping[str, str], field: str) -> str:
    """A field without what writing it differently changes; empty where it tells nothing."""
    text = metadata.get(field, "").strip().lower()
    if field == "patient_name":
        # Only the first of the alphabetic, ideographic and phonetic forms; ^ stands between parts.
        text = " ".join(re.split(r"[\^,\s]+", text.split("=")[0])).strip()
    if field == "patient_birth_date" and text in _NO_BIRTH_DATES:
        return ""
    return "" if _TELLS_NOTHING.fullmatch(text) else text


def _described(metadata: Mapping[str, str]) -> str:
    given = (
        f"{words} '{metadata[field]}'"
        for field, words in IDENTITY_FIELDS.items()
        if metadata.get(field)
    )
    return f"has {', '.join(given)}"
