"""What a quick look at two heads sees: the best place near the given one, and how sharp it is.

A coarse search finds the place near the given one where the heads tell most about each other, and
two short climbs, one with the roles exchanged, say how sharply that place is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import SimpleITK

from MedFusionLib.errors import RegistrationError
from MedFusionLib.registration.images import Head, box_points, voxel_diagonal
from MedFusionLib.registration.measures import head_overlap, mutual_information
from MedFusionLib.registration.overlap import resample
from MedFusionLib.registration.position import Position, in_order, place, toward
from MedFusionLib.registration.search import (
    CHECK,
    Cancel,
    Found,
    improve,
    near_places,
    one_thread_each,
    optimise,
    side_by_side,
)
from MedFusionLib.registration.transforms import displacements, inverse
from MedFusionLib.volumes.volume import Volume

SEED = 0


@dataclass(frozen=True)
class Sighting:
    """What a quick look found: ``away_mm`` from the given to the best place, ``apart_mm`` between
    the two climbs (both means over the corners and the centre of the head's box), nats and overlap
    at the best place, and ``diagonal_mm`` of a voxel of the coarser volume."""

    away_mm: float
    apart_mm: float
    mutual_information: float
    overlap: float
    diagonal_mm: float


def look(
    reference: Volume, other: Volume, transform: SimpleITK.Transform | None, cancel: Cancel
) -> Sighting:
    """Seek near where the files, or ``transform`` (reference to other space), put the heads.

    Raises ``InputError`` for volumes without a head, ``RegistrationError`` where the heads overlap
    nowhere near, ``Cancelled``.
    """
    diagonal = max(voxel_diagonal(reference), voxel_diagonal(other))
    if transform is not None and not transform.IsLinear():
        other, transform = resample(other, reference, transform), None
    with one_thread_each():
        _, heads, volumes = in_order(reference, other)
        start = toward(transform, heads[0], exchanged=volumes[0] is other)
        return _sighting(place(heads, start), diagonal, cancel)


def _sighting(position: Position, diagonal: float, cancel: Cancel) -> Sighting:
    fixed, moving = position.heads
    places = near_places(fixed, moving, SEED, cancel)
    if not places:
        raise RegistrationError("No position was found in which the two heads overlap.")
    climbs = (_climb, _climb_exchanged)
    best, again = side_by_side(
        lambda climb: climb(fixed, moving, places[0].transform, cancel), climbs
    )
    points = box_points(fixed.mask)
    return Sighting(
        away_mm=float(displacements(best.transform, position.found, points).mean()),
        apart_mm=float(displacements(best.transform, again.transform, points).mean()),
        mutual_information=mutual_information(fixed, moving, best.transform),
        overlap=head_overlap(fixed, moving, best.transform, "rigid"),
        diagonal_mm=diagonal,
    )


def _climb(fixed: Head, moving: Head, start: SimpleITK.Transform, cancel: Cancel) -> Found:
    return improve(fixed, moving, fixed.skin, start, CHECK, SEED, cancel)


def _climb_exchanged(
    fixed: Head, moving: Head, start: SimpleITK.Transform, cancel: Cancel
) -> Found:
    back = inverse(start, "rigid", moving.centre)
    again = optimise(moving, fixed, moving.skin, back, CHECK, SEED + 1, cancel)
    return replace(again, transform=inverse(again.transform, "rigid", fixed.centre))
