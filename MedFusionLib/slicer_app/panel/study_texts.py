"""What the panel says of a patient's series and of the pair that is chosen among them.

Pure functions of plain values, without Qt and without a scene.
"""

from __future__ import annotations

from collections.abc import Sequence

from MedFusionLib.slicer_app.panel.statements import Statement, Weight
from MedFusionLib.slicer_app.panel.texts import dateText, identityText
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.volumes.pairing import Missing, NoPair, Pair
from MedFusionLib.volumes.series_facts import Patient, SeriesFacts
from MedFusionLib.volumes.series_traits import traits_of

NAMED = 4
"""So many series are named; the rest is counted."""


def patientText(patient: Patient) -> str:
    """Who it is, for a menu or a sentence."""
    return personText(patient.series[0])


def personText(series: SeriesFacts) -> str:
    """Whom a series shows, as DICOM tells, else as little as is known."""
    told = identityText(series)
    if told:
        return told
    if series.study_uid:
        return _("unnamed patient, study {uid}").format(uid=_short(series.study_uid))
    return _("unnamed patient of the scene")


def _short(uid: str) -> str:
    return uid if len(uid) <= 12 else "..." + uid[-9:]


def pairStatements(pair: Pair | NoPair, patient: Patient) -> list[Statement]:
    """What was chosen, why, and what else could have been; or why nothing was."""
    if isinstance(pair, NoPair):
        text = _("Nothing was chosen. {person}: {reason}")
        told = text.format(person=patientText(patient), reason=noPairText(pair))
        return [Statement(Weight.WARNING, told)]
    statements = [Statement(Weight.NOTE, pairText(pair))]
    if pair.days_apart:
        text = _("The two were taken {count} days apart: the head may have changed between.")
        statements.append(Statement(Weight.WARNING, text.format(count=pair.days_apart)))
    return statements


def pairText(pair: Pair) -> str:
    """What was chosen and why, in one sentence, and what else could have been, in a second."""
    chosen = _("Chosen: '{reference}' ({why}) and '{other}' ({whyOther}); {alignment}.").format(
        reference=pair.reference.name,
        why=seriesText(pair.reference),
        other=pair.other.name,
        whyOther=seriesText(pair.other),
        alignment=alignmentText(pair),
    )
    return " ".join([chosen, *_alternatives(pair)])


def alignmentText(pair: Pair) -> str:
    """How the two come to lie on each other, and why so."""
    if pair.frames_differ:
        return _("their frames of reference differ, so they are registered (rigid)")
    if pair.reference.frame_of_reference_uid and pair.other.frame_of_reference_uid:
        return _("their frame of reference is the same, so their positions are taken as right")
    return _("no frames of reference tell otherwise, so their positions are taken as right")


def _alternatives(pair: Pair) -> list[str]:
    told = []
    if pair.other_references:
        text = _("As the reference, {names} could be chosen, too.")
        told.append(text.format(names=namesText(pair.other_references)))
    if pair.other_others:
        text = _("As the other, {names} could be chosen, too.")
        told.append(text.format(names=namesText(pair.other_others)))
    return told


def namesText(series: Sequence[SeriesFacts]) -> str:
    """The names of some series, and how many more there are."""
    names = ", ".join(f"'{one.name}'" for one in series[:NAMED])
    if len(series) <= NAMED:
        return names
    return _("{names} and {count} more").format(names=names, count=len(series) - NAMED)


def seriesText(series: SeriesFacts) -> str:
    """What makes a series fit: kind, contrast, correction, voxels, date."""
    parts = [kindText(series)]
    if min(series.spacing) > 0:
        size = " × ".join(f"{step:.3g}" for step in series.spacing)
        parts.append(_("{size} mm").format(size=size))
    if series.study_date:
        parts.append(studyDateText(series))
    return ", ".join(parts)


def kindText(series: SeriesFacts) -> str:
    """What kind of image a series is, with its contrast or correction."""
    traits = traits_of(series)
    parts = [_weightingText(series)]
    if traits.contrast:
        parts.append(_("with contrast"))
    if traits.corrected is not None:
        parts.append(
            _("attenuation corrected") if traits.corrected else _("not attenuation corrected")
        )
    return ", ".join(parts)


def _weightingText(series: SeriesFacts) -> str:
    traits = traits_of(series)
    if series.modality != "MR":
        return series.modality
    kind = traits.weighting or "MR"
    return f"3D {kind}" if traits.volumetric else kind


def studyDateText(series: SeriesFacts) -> str:
    """The day of a study, empty where nobody tells."""
    return dateText({"date": series.study_date}, "date")


def noPairText(found: NoPair) -> str:
    """Why nothing is chosen, and what to do."""
    return _reasons()[found.why].format(names=namesText(found.candidates))


def _reasons() -> dict[Missing, str]:
    return {
        Missing.REFERENCE: _(
            "there is no anatomical MR (overviews, maps, single slices and fused volumes do not "
            "count)."
        ),
        Missing.OTHER: _(
            "there is no CT, PET or SPECT volume (scouts, projections, dynamic series and fused "
            "volumes do not count)."
        ),
        Missing.ONE_REFERENCE: _("these MR volumes are equally good: {names}. Choose one by hand."),
        Missing.ONE_OTHER: _("these volumes are equally good: {names}. Choose one by hand."),
        Missing.KIND_OF_OTHER: _(
            "there are several kinds of images to fuse with: {names}. Choose one by hand."
        ),
        Missing.TRACER: _("there are images of several tracers: {names}. Choose one by hand."),
        Missing.DAY: _(
            "several studies have both, and nobody tells which is the newest: {names}. Choose by "
            "hand."
        ),
        Missing.IDENTITY: _("the identities of {names} differ. Look at their headers."),
    }


def nobodyText(unknown: int) -> str:
    """Why there is no patient among the loaded volumes."""
    if not unknown:
        return _("No volume is loaded.")
    return _(
        "No loaded volume tells whose it is, so none was chosen. Load them from the DICOM module, "
        "put them under one subject in the module Data, or choose them by hand."
    )


def leftOutText(unknown: int) -> str:
    """How many volumes were not looked at."""
    return _("Volumes that do not tell whose they are were left out: {count}.").format(
        count=unknown
    )
