"""What the panel says of a batch over the DICOM database: from plain values to words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from MedFusionLib.batch.cases import DONE, FAILED, SKIPPED, Outcome
from MedFusionLib.registration.quick_check import ALIGNED
from MedFusionLib.slicer_app.panel.statements import Shown, Statement, Weight, alignmentStatement
from MedFusionLib.slicer_app.panel.study_texts import (
    kindText,
    noPairText,
    personText,
    studyDateText,
)
from MedFusionLib.slicer_app.panel.texts import timeText
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.volumes.pairing import Missing, NoPair, Pair
from MedFusionLib.volumes.series_facts import Patient

NOT_THERE = (Missing.REFERENCE, Missing.OTHER)


def caseText(pair: Pair) -> str:
    """A pair in the list of the batch: whose and when, which series, how they are aligned."""
    alignment = _("registered (rigid)") if pair.frames_differ else _("as they lie")
    dates = dict.fromkeys(studyDateText(one) for one in (pair.reference, pair.other))
    lines = [
        ", ".join(filter(None, (personText(pair.reference), " / ".join(filter(None, dates))))),
        f"'{pair.reference.name}' ({kindText(pair.reference)})",
        f"+ '{pair.other.name}' ({kindText(pair.other)}), {alignment}",
    ]
    if pair.days_apart:
        lines.append(_("Taken {count} days apart.").format(count=pair.days_apart))
    return "\n".join(lines)


def resultStatement(outcome: Outcome, report: Mapping[str, Any] | None) -> Statement:
    """What became of a case: done with its alignment's verdict, kept, or refused with its reason.

    The weight is the alignment's own: a fused volume is as good as that.
    """
    if outcome.status == SKIPPED:
        return Statement(
            Weight.NOTE, _("Kept: '{file}' is there already.").format(file=_fileName(outcome))
        )
    if outcome.status == FAILED:
        return Statement(Weight.BAD, _("Refused: {reason}").format(reason=outcome.error))
    alignment = _alignment(report or {})
    text = _("Done in {time}: '{file}'. {alignment}").format(
        time=timeText(outcome.seconds), file=_fileName(outcome), alignment=alignment.text
    )
    return Statement(alignment.weight, text)


def _alignment(report: Mapping[str, Any]) -> Statement:
    """As of a result that is shown; but here nobody has looked, so that doubt is a warning."""
    told = alignmentStatement(Shown("", report, "", ""))
    check = report.get("quick_check")
    if "quick_check" not in report or (check and check["verdict"] == ALIGNED):
        return told
    doubt = check["sentence"] if check else _("No head was found to look at.")
    return Statement(Weight.WARNING, f"{told.text} {doubt}")


def _fileName(outcome: Outcome) -> str:
    return outcome.output.replace("\\", "/").rsplit("/", 1)[-1]


def foundText(pairs: int, ambiguous: int, without: int) -> str:
    """How many pairs the database has."""
    if not pairs and not ambiguous and not without:
        return _("The DICOM database has no MR, CT, PET or SPECT series.")
    return _(
        "Pairs: {pairs}. Patients left out because the rules do not tell: {ambiguous}; because an "
        "MR or another volume is missing: {without}."
    ).format(pairs=pairs, ambiguous=ambiguous, without=without)


def leftOutText(left: Iterable[tuple[Patient, NoPair]]) -> str:
    """Whom the rules do not tell about, and why: a line each."""
    return "\n".join(
        f"{personText(patient.series[0])}: {noPairText(found)}" for patient, found in left
    )


def caseProgressText(index: int, count: int, step: str) -> str:
    """Which case is fused, and what is done with it."""
    return _("Case {number} of {count}: {step}").format(number=index + 1, count=count, step=step)


def doneText(outcomes: Sequence[Outcome], planned: int, cancelled: bool) -> str:
    """How a batch has ended."""
    counts = {
        status: sum(outcome.status == status for outcome in outcomes)
        for status in (DONE, SKIPPED, FAILED)
    }
    told = _("Fused: {done}; kept: {skipped}; refused: {failed}.").format(
        done=counts[DONE], skipped=counts[SKIPPED], failed=counts[FAILED]
    )
    if not cancelled:
        return told
    return _("Stopped before {left} of them.").format(left=planned - len(outcomes)) + " " + told
