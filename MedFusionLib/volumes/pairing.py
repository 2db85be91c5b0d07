"""Which two series of a patient to fuse: the anatomical MR, and the CT, PET or SPECT.

Pure functions of plain values. A choice is made among the series of one ``Patient``, of which there
is none with series of two people. Where the rules do not tell, nothing is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from MedFusionLib.volumes.identity import differing_fields
from MedFusionLib.volumes.series_facts import Patient, SeriesFacts
from MedFusionLib.volumes.series_traits import FUNCTIONAL, traits_of
from MedFusionLib.volumes.synthetic import names_synthetic

LEAST_SLICES = 8
"""Fewer do not cover a head; overviews have one to three in each direction."""
ALIKE = 1.1
"""Two volumes whose voxels or extents differ by less than this factor are equally good."""


@dataclass(frozen=True)
class Pair:
    """What to fuse, and what could have been fused instead."""

    reference: SeriesFacts
    other: SeriesFacts
    other_references: tuple[SeriesFacts, ...] = ()
    other_others: tuple[SeriesFacts, ...] = ()

    def __post_init__(self) -> None:
        Patient((self.reference, self.other))
        if differing_fields(self.reference.identity, self.other.identity):
            raise ValueError("These series are not of one patient.")

    @property
    def frames_differ(self) -> bool:
        """Whether both name a frame of reference, and another one: they have to be registered."""
        one, two = self.reference.frame_of_reference_uid, self.other.frame_of_reference_uid
        return bool(one and two and one != two)

    @property
    def days_apart(self) -> int | None:
        """Between the two studies; None where a date is not told."""
        days = [_day(series) for series in (self.reference, self.other)]
        return None if None in days else abs((days[0] - days[1]).days)  # type: ignore[operator]


class Missing(Enum):
    """Why nothing is chosen."""

    REFERENCE = "no reference"
    OTHER = "no other"
    ONE_REFERENCE = "several references"
    ONE_OTHER = "several others"
    KIND_OF_OTHER = "several kinds of others"
    TRACER = "several tracers"
    DAY = "several studies without a date"
    IDENTITY = "fields of the identity differ"


@dataclass(frozen=True)
class NoPair:
    """Nothing is chosen, and these series are why."""

    why: Missing
    candidates: tuple[SeriesFacts, ...] = ()


def may_be_reference(series: SeriesFacts) -> bool:
    """Whether it is an anatomical MR volume: no fused or synthetic one, no localizer, no map."""
    return series.modality == "MR" and _usable(series)


def may_be_other(series: SeriesFacts) -> bool:
    """Whether it is a CT, PET or SPECT volume: no fused one, no scout, no derived map."""
    return series.modality in ("CT", *FUNCTIONAL) and _usable(series)


def _usable(series: SeriesFacts) -> bool:
    traits = traits_of(series)
    is_volume = series.refusal is None and not series.is_colour
    is_whole = series.shape[0] == 0 or series.shape[0] >= LEAST_SLICES
    is_made = series.is_fused or traits.overview or traits.derived_map or not traits.static
    is_made_up = names_synthetic(series.name, series.description)
    return is_volume and is_whole and not is_made and not is_made_up


def choose_pair(patient: Patient) -> Pair | NoPair:
    """The pair of a patient's newest study day that has one.

    Days are looked at alone, because a head changes from one to the next; only where no day has
    both is a pair made of two days.
    """
    days = _days(patient)
    with_both = [day for day in days if _has_both(day)]
    if not with_both:
        return _choose(patient.series, patient)
    if len(with_both) > 1 and any(not day[0].study_date for day in with_both):
        return NoPair(Missing.DAY, tuple(one for day in with_both for one in day if _fits(one)))
    return _choose(with_both[-1], patient)


def choose_pairs(patient: Patient) -> list[Pair | NoPair]:
    """What is chosen of each study day that has both; of all days together if none has."""
    with_both = [day for day in _days(patient) if _has_both(day)]
    return [_choose(day, patient) for day in with_both or [list(patient.series)]]


def _days(patient: Patient) -> list[list[SeriesFacts]]:
    """The series by the date of their study, else by their study; oldest first."""
    days: dict[tuple[str, str], list[SeriesFacts]] = {}
    for series in patient.series:
        date = series.study_date
        days.setdefault((date, "" if date else series.study_uid), []).append(series)
    return [days[key] for key in sorted(days)]


def _fits(series: SeriesFacts) -> bool:
    return may_be_reference(series) or may_be_other(series)


def _has_both(day: Sequence[SeriesFacts]) -> bool:
    return any(map(may_be_reference, day)) and any(map(may_be_other, day))


def _choose(pool: Sequence[SeriesFacts], patient: Patient) -> Pair | NoPair:
    """Choose within ``pool``; the patient's other series are what else could be chosen."""
    references = [one for one in pool if may_be_reference(one)]
    others = [one for one in pool if may_be_other(one)]
    if not references or not others:
        why = Missing.OTHER if references else Missing.REFERENCE
        return NoPair(why, tuple(references or others))
    best = _best(references, _reference_rank)
    if len(best) > 1:
        return NoPair(Missing.ONE_REFERENCE, tuple(best))
    other = _choose_other(others)
    if isinstance(other, NoPair):
        return other
    if differing_fields(best[0].identity, other.identity):
        return NoPair(Missing.IDENTITY, (best[0], other))
    return Pair(
        best[0],
        other,
        tuple(one for one in patient.series if may_be_reference(one) and one is not best[0]),
        tuple(one for one in patient.series if may_be_other(one) and one is not other),
    )


def _choose_other(others: Sequence[SeriesFacts]) -> SeriesFacts | NoPair:
    left = _without_companions(others)
    if len({one.modality for one in left}) > 1:
        return NoPair(Missing.KIND_OF_OTHER, tuple(left))
    if len({traits_of(one).tracers for one in left if traits_of(one).tracers}) > 1:
        return NoPair(Missing.TRACER, tuple(left))
    best = _best(left, _other_rank)
    return best[0] if len(best) == 1 else NoPair(Missing.ONE_OTHER, tuple(best))


def _without_companions(others: Sequence[SeriesFacts]) -> list[SeriesFacts]:
    """Without the CT of a PET/CT or SPECT/CT, which is there for the functional image."""
    functional = [one for one in others if one.modality in FUNCTIONAL]
    return [
        one
        for one in others
        if one.modality in FUNCTIONAL or not any(_same_exam(one, main) for main in functional)
    ]


def _same_exam(one: SeriesFacts, two: SeriesFacts) -> bool:
    frames = (one.frame_of_reference_uid, two.frame_of_reference_uid)
    same_frame = bool(frames[0]) and frames[0] == frames[1]
    return same_frame or (bool(one.study_uid) and one.study_uid == two.study_uid)


def _reference_rank(series: SeriesFacts) -> tuple[object, ...]:
    traits = traits_of(series)
    return (traits.volumetric, traits.weighting == "T1", traits.contrast, traits.original)


def _other_rank(series: SeriesFacts) -> tuple[object, ...]:
    corrected = traits_of(series).corrected
    return (-1 if corrected is False else int(corrected or 0), traits_of(series).original)


def _best(series: Iterable[SeriesFacts], rank: Callable[[SeriesFacts], tuple]) -> list[SeriesFacts]:
    """The highest in rank; of these the finest, of these the largest, of these the newest."""
    found = list(series)
    top = max(map(rank, found))
    found = [one for one in found if rank(one) == top]
    finest = min(one.voxel_volume for one in found)
    found = [one for one in found if one.voxel_volume <= ALIKE * finest]
    largest = max(one.extent for one in found)
    found = [one for one in found if one.extent * ALIKE >= largest]
    if all(one.study_date for one in found):
        newest = max(one.study_date for one in found)
        found = [one for one in found if one.study_date == newest]
    return found


def _day(series: SeriesFacts) -> datetime | None:
    try:
        return datetime.strptime(series.study_date, "%Y%m%d")
    except ValueError:
        return None
