"""Do two volumes lie where they say they do? An answer in seconds, without an alignment.

A coarse search finds the place near the given one where the heads tell most about each other, and
two short climbs, one with the roles exchanged, say how sharply that place is known. How often it
is right is measured in docs/ALIGNMENT.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import SimpleITK

from MedFusionLib.errors import IdentityError, InputError, RegistrationError
from MedFusionLib.registration.images import Head, surface_points, voxel_diagonal
from MedFusionLib.registration.measures import head_overlap, mutual_information
from MedFusionLib.registration.position import Position, in_order, place, toward
from MedFusionLib.registration.search import (
    CHECK,
    Cancel,
    Found,
    improve,
    near_places,
    never,
    one_thread_each,
    optimise,
    side_by_side,
)
from MedFusionLib.registration.transforms import displacements, inverse
from MedFusionLib.volumes.identity import refuse_two_patients
from MedFusionLib.volumes.volume import Volume

LIE_ON_EACH_OTHER = "lie on each other"
SHIFTED = "shifted"
CANNOT_TELL = "cannot tell"
SEED = 0

LEAST_OVERLAP = 0.3
LEAST_INFORMATION = 0.15
LEAST_NEAR_MM = 1.5
NEAR_DIAGONALS = 1.25
SHARP_DIAGONALS = 1.0
SHARP_SHARE = 0.5
# Where these numbers come from: docs/ALIGNMENT.md.


@dataclass(frozen=True)
class QuickCheck:
    """``verdict``: lie on each other, shifted, or cannot tell.

    ``millimetres``: mean distance, over the head's surface, between where the volumes lie and
    where they fit best; None where that cannot be told. ``sentence`` says it to a user.
    """

    verdict: str
    millimetres: float | None
    sentence: str


def quick_check(
    reference: Volume,
    other: Volume,
    transform: SimpleITK.Transform | None = None,
    cancel: Cancel = never,
) -> QuickCheck:
    """Whether the heads of two volumes lie on each other as filed, or by ``transform``.

    ``transform`` is linear and maps reference space to other space (LPS, mm). The same volumes
    give the same answer. Seeks within about 20° and 30 mm of the given place and of the heads'
    centres. Raises ``InputError`` for a transform that bends space, ``Cancelled``; volumes without
    a head, or that name different patients, cannot be told.
    """
    if transform is not None and not transform.IsLinear():
        raise InputError("The transform bends space, and only a linear one can be checked.")
    with one_thread_each():
        try:
            refuse_two_patients(reference, other, force=False)
            _, heads, volumes = in_order(reference, other)
            start = toward(transform, heads[0], exchanged=volumes[0] is other)
            sighting = _look(place(heads, start), cancel)
        except (IdentityError, InputError, RegistrationError) as reason:
            return _cannot_tell(str(reason))
    return _answer(sighting, max(map(voxel_diagonal, volumes)))


@dataclass(frozen=True)
class Sighting:
    """What a quick look found: ``away_mm`` from the given to the best place, ``apart_mm`` between
    the two climbs (both means over the head's surface), nats and overlap at the best place."""

    away_mm: float
    apart_mm: float
    mutual_information: float
    overlap: float


def _look(position: Position, cancel: Cancel) -> Sighting:
    fixed, moving = position.heads
    places = near_places(fixed, moving, SEED, cancel)
    if not places:
        raise RegistrationError("No position was found in which the two heads overlap.")
    climbs = (_climb, _climb_exchanged)
    best, again = side_by_side(
        lambda climb: climb(fixed, moving, places[0].transform, cancel), climbs
    )
    surface = surface_points(fixed.mask)
    return Sighting(
        away_mm=float(displacements(best.transform, position.found, surface).mean()),
        apart_mm=float(displacements(best.transform, again.transform, surface).mean()),
        mutual_information=mutual_information(fixed, moving, best.transform),
        overlap=head_overlap(fixed, moving, best.transform, "rigid"),
    )


def _climb(fixed: Head, moving: Head, start: SimpleITK.Transform, cancel: Cancel) -> Found:
    return improve(fixed, moving, fixed.skin, start, CHECK, SEED, cancel)


def _climb_exchanged(
    fixed: Head, moving: Head, start: SimpleITK.Transform, cancel: Cancel
) -> Found:
    back = inverse(start, "rigid", moving.centre)
    again = optimise(moving, fixed, moving.skin, back, CHECK, SEED + 1, cancel)
    return replace(again, transform=inverse(again.transform, "rigid", fixed.centre))


def _answer(sighting: Sighting, diagonal: float) -> QuickCheck:
    """``diagonal``: length in mm of the coarser volume's voxel diagonal."""
    near = max(LEAST_NEAR_MM, NEAR_DIAGONALS * diagonal)
    if sighting.overlap < LEAST_OVERLAP:
        return _cannot_tell("the heads hardly overlap.")
    if sighting.mutual_information < LEAST_INFORMATION:
        return _cannot_tell("they tell almost nothing about each other.")
    if sighting.apart_mm > max(SHARP_DIAGONALS * diagonal, SHARP_SHARE * sighting.away_mm):
        return _cannot_tell("the place where they fit best is not sharp.")
    if sighting.away_mm <= near:
        return QuickCheck(
            LIE_ON_EACH_OTHER,
            sighting.away_mm,
            f"The volumes lie on each other, as far as a quick look can tell: to {near:.1f} mm.",
        )
    return QuickCheck(
        SHIFTED,
        sighting.away_mm,
        f"The volumes are shifted by about {sighting.away_mm:.0f} mm from where they fit best. "
        "Align them first.",
    )


def _cannot_tell(reason: str) -> QuickCheck:
    return QuickCheck(
        CANNOT_TELL, None, f"Whether the volumes lie on each other cannot be told: {reason}"
    )
