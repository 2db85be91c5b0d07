"""What a fused volume is, and how far it can be trusted: one sentence each, with its weight.

Pure functions of plain values, without Qt and without a scene.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from html import escape
from typing import Any

from MedFusionLib.registration.quick_check import ALIGNED, APART
from MedFusionLib.slicer_app.panel.texts import placeText
from MedFusionLib.slicer_app.translation import _

LANDMARKS_APART_MM = 5.0
"""Mean distance of landmarks, from which on it is a warning: clearly more than the few millimetres
by which a careful hand misses a spot."""
MUCH_HIDDEN = 0.05
"""Share of the head, from which on what is hidden of a source is a warning."""


class Weight(Enum):
    """How a sentence is to be taken: its sign and its color, which both tell alone."""

    GOOD = ("●", "#2E9E4F")
    NOTE = ("○", "#808080")
    WARNING = ("▲", "#D98200")
    BAD = ("■", "#D93025")


@dataclass(frozen=True)
class Statement:
    """One sentence for the user."""

    weight: Weight
    text: str


@dataclass(frozen=True)
class Shown:
    """The fused volume that is shown. Names are None for volumes that left the scene since."""

    name: str
    report: Mapping[str, Any]
    reference: str | None
    other: str | None
    transform: str | None = None
    further: tuple[str | None, ...] = ()
    """The volumes behind the other one, and below the transforms that laid them."""
    furtherTransforms: tuple[str | None, ...] = ()
    isBeingMeasured: bool = False
    isOfChosen: bool = True
    """Whether it was made from the volumes that are chosen now."""


def asHtml(statements: Iterable[Statement]) -> str:
    """The sentences for a label, a line each, whatever their words hold."""
    return "".join(
        f'<p style="margin:2px 0"><span style="color:{statement.weight.value[1]}">'
        f"{statement.weight.value[0]}</span> {escape(statement.text)}</p>"
        for statement in statements
    )


def inputStatements(missing: str | None, warnings: Iterable[str]) -> list[Statement]:
    """Why nothing can be fused yet, or what to know before."""
    if missing is not None:
        return [Statement(Weight.NOTE, missing)]
    return [Statement(Weight.WARNING, warning) for warning in warnings]


def resultStatements(shown: Shown | None) -> list[Statement]:
    """What is shown, how it was aligned, what is hidden, and what the run has warned of."""
    if shown is None:
        return [Statement(Weight.NOTE, _("Nothing is fused yet."))]
    warnings = [_asSentence(text) for text in shown.report.get("warnings", ())]
    return [
        _sourceStatement(shown),
        *([] if shown.isOfChosen else [Statement(Weight.WARNING, _notOfChosen())]),
        *_alignmentStatements(shown),
        *_landmarkStatements(shown.report.get("landmarks")),
        _hiddenStatement(shown.report.get("hidden"), shown.isBeingMeasured),
        *(Statement(Weight.WARNING, text) for text in warnings if not _isVerdict(text, shown)),
    ]


def _isVerdict(warning: str, shown: Shown) -> bool:
    """Whether it is the verdict of a registration, which the alignment's own sentence tells."""
    sentences = [warning]
    if shown.report.get("further"):
        # Before a sentence on one of several volumes stands which one it is about.
        sentences.append(_asSentence(warning.partition(": ")[2]))
    reports = (shown.report, *shown.report.get("further", ()))
    isRegistered = any(report.get("registration") for report in reports)
    return isRegistered and any(text.startswith("The alignment is ") for text in sentences)


def _sourceStatement(shown: Shown) -> Statement:
    if None in (shown.reference, shown.other, *shown.further):
        return Statement(
            Weight.WARNING,
            _("'{name}': a volume that it was made from was deleted since.").format(
                name=shown.name
            ),
        )
    text = _("'{name}': {reference} with {other}, fused by {method}.").format(
        name=shown.name,
        reference=shown.reference,
        other=_(" and ").join(str(name) for name in (shown.other, *shown.further)),
        method=shown.report.get("method"),
    )
    return Statement(Weight.NOTE, text)


def _notOfChosen() -> str:
    return _("This is not a fusion of the volumes that are chosen above.")


def _alignmentStatements(shown: Shown) -> list[Statement]:
    """One for the other volume, and where there are further ones, one for each with its name."""
    further = zip(shown.report.get("further", ()), shown.furtherTransforms, strict=False)
    told = [
        alignmentStatement(shown),
        *(
            alignmentStatement(replace(shown, report=report, transform=transform))
            for report, transform in further
        ),
    ]
    if len(told) == 1:
        return told
    names = [_("Other volume"), *(placeText(number) for number in range(len(told) - 1))]
    return [replace(one, text=f"{name}: {one.text}") for name, one in zip(names, told, strict=True)]


def alignmentStatement(shown: Shown) -> Statement:
    """How the other volume came to lie on the reference, and how far that can be trusted."""
    registration = shown.report.get("registration")
    if registration is not None:
        return _registrationStatement(registration["quality"])
    check = shown.report.get("quick_check") or {}
    if check.get("verdict") == APART:
        return Statement(Weight.BAD, _("Fused as they lay: {sentence}").format(**check))
    kind = (shown.report.get("transform") or {}).get("kind")
    if kind == "given":
        return _transformStatement(shown)
    text = _("Not registered: the positions of the volumes were taken as they are.")
    if check.get("verdict") == ALIGNED:
        return Statement(Weight.NOTE, text + " " + check["sentence"])
    return Statement(Weight.NOTE, text)


def _transformStatement(shown: Shown) -> Statement:
    name = shown.transform or _("of the run")
    judged = shown.report.get("registered_before")
    if judged is None:
        sentence = _("Aligned by the transform '{name}', which was not judged.")
        return Statement(Weight.NOTE, sentence.format(name=name))
    verdict = _registrationStatement(judged)
    used = _("Aligned by the transform '{name}'.").format(name=name)
    return Statement(verdict.weight, f"{used} {verdict.text}")


def _registrationStatement(quality: Mapping[str, Any]) -> Statement:
    weight, sentence = {
        "pass": (Weight.GOOD, _("The registration passed. {reason}")),
        "doubtful": (Weight.WARNING, _("The registration is doubtful: look twice. {reason}")),
    }.get(quality["verdict"], (Weight.BAD, _("The registration failed. {reason}")))
    return Statement(weight, sentence.format(reason=_asSentence(quality["reason"])))


def _landmarkStatements(landmarks: Mapping[str, Any] | None) -> list[Statement]:
    """How far the points lie from each other that the user has placed on both volumes."""
    if not landmarks:
        return []
    farthest = max(landmarks["points"], key=lambda point: point["distance_mm"])
    text = _(
        "Landmarks: {count} pairs lie {mean} mm from each other on average, {largest} mm at most "
        "('{label}')."
    ).format(
        count=len(landmarks["points"]),
        mean=f"{landmarks['mean_mm']:.1f}",
        largest=f"{landmarks['largest_mm']:.1f}",
        label=farthest["label"],
    )
    if landmarks["mean_mm"] <= LANDMARKS_APART_MM:
        return [Statement(Weight.NOTE, text)]
    return [Statement(Weight.WARNING, text + " " + _("Look twice, at them and at the alignment."))]


def _hiddenStatement(figures: Mapping[str, Any] | None, isBeingMeasured: bool) -> Statement:
    if figures is not None:
        shares = [share or 0.0 for share in figures["hidden_share"].values()]
        weight = Weight.WARNING if max(shares) > MUCH_HIDDEN else Weight.NOTE
        return Statement(weight, _("Hidden: {sentence}").format(sentence=figures["sentence"]))
    if isBeingMeasured:
        return Statement(Weight.NOTE, _("What fusing hides is being measured..."))
    return Statement(
        Weight.NOTE,
        _("What fusing hides was not measured: Compare shows both volumes beside the fused one."),
    )


def _asSentence(text: str) -> str:
    return text[:1].upper() + text[1:]
