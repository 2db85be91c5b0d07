"""Which MR sequence a volume shows, as its user or its names tell; never its values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from MedFusionLib.errors import InputError
from MedFusionLib.methods.hinet.architecture import SEQUENCES
from MedFusionLib.volumes.series_facts import SeriesFacts
from MedFusionLib.volumes.series_traits import named_weightings, traits_of
from MedFusionLib.volumes.volume import Volume

ORDINALS = ("first", "second")


def known_sequence(name: str) -> str:
    """A sequence by its name in any case; ``InputError`` lists those that are known."""
    for sequence in SEQUENCES:
        if name.strip().lower() == sequence.lower():
            return sequence
    raise InputError(f"'{name}' is not a sequence. Choose one of: {', '.join(SEQUENCES)}.")


def told_sequence(volume: Volume) -> str:
    """The sequence that a volume's file name or series description names; empty if none or several.

    The folders above a file tell nothing: they often name a whole study.
    """
    name = PurePath(volume.metadata.get("source", "")).name
    description = volume.metadata.get("series_description", "")
    named = named_weightings(f"{description or name}")
    if len(named) != 1:
        return ""
    series = SeriesFacts("", "" if description else name, description, "MR")
    return "T1c" if named == ("T1",) and traits_of(series).contrast else named[0]


def sequences_of(
    volumes: Sequence[Volume],
    given: Sequence[str | None] = (None, None),
    warnings: list[str] | None = None,
) -> tuple[str, str]:
    """The sequences of two volumes: the ``given`` ones, else what the volumes' names tell.

    Where what is given contradicts a name, a sentence is appended to ``warnings``. Raises
    ``InputError`` where that is not clear, or both are one sequence.
    """
    first, second = (
        known_sequence(name) if name else _clear(volume, ordinal)
        for volume, name, ordinal in zip(volumes, given, ORDINALS, strict=True)
    )
    if first == second:
        raise InputError(
            f"Both volumes are {first}. Give two different sequences; if the names mislead, say "
            "what they are (--sequences T1,PD)."
        )
    if warnings is not None:
        warnings += _contradictions(volumes, (first, second))
    return first, second


def _contradictions(volumes: Sequence[Volume], taken: tuple[str, str]) -> list[str]:
    return [
        f"The {ordinal} volume is taken as {sequence}, and its name says {told}. A network that is "
        "given the wrong sequence makes up a picture that looks as right."
        for volume, sequence, ordinal in zip(volumes, taken, ORDINALS, strict=True)
        if (told := told_sequence(volume)) and told != sequence
    ]


def _clear(volume: Volume, ordinal: str) -> str:
    told = told_sequence(volume)
    if not told:
        raise InputError(
            f"It is not clear which MR sequence the {ordinal} volume is: its name and series "
            f"description tell none, or several. Say what both are (--sequences T1,PD), in the "
            f"order of the volumes, of {', '.join(SEQUENCES)}."
        )
    return told
