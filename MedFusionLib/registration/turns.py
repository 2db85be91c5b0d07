"""Looking all around: would the other volume fit as well, or better, turned by a large angle?

Registration climbs, and from far away it climbs to the wrong place; repeats that start near a wrong
place agree on it. So rotations from all around are tried, and the best place that they lead to is
held against the one that was found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK

from MedFusionLib.registration.images import Head, box_points
from MedFusionLib.registration.measures import mutual_information
from MedFusionLib.registration.search import (
    AGREEING_MM,
    COARSE,
    SEARCH,
    Cancel,
    Found,
    climb,
    never,
    values_at,
)
from MedFusionLib.registration.transforms import displacements, matrix_of, with_freedom

ROTATIONS = 600
GLANCE_VOXEL_MM = 12.0
APART_DEGREES = 45.0
CLIMBED = 16
REFINED = 4
RIVAL_SHARE = 0.6
"""Share of the found place's mutual information from which a turned place is worth a finer look."""


@dataclass(frozen=True)
class Turned:
    """The best place that starts turned far away from a registration lead to.

    ``mutual_information``: nats, to be held against ``mutual_information`` of the registration
    (same samples); 0 where no place was found. ``degrees``: angle between the two, 0 to 180.
    ``transform``: from the fixed to the moving head, or None.
    """

    mutual_information: float
    degrees: float
    transform: SimpleITK.Transform | None = None


def look_all_around(
    fixed: Head, moving: Head, found: SimpleITK.Transform, seed: int, cancel: Cancel = never
) -> Turned:
    """Search 600 rotations about the heads' centres that differ from ``found`` by 45° or more.

    ``found`` maps the fixed to the moving head (LPS, mm). Places up to 15 mm from it are not
    another place. Raises ``Cancelled``.
    """
    starts = [
        start
        for start in _centred_starts(fixed, moving)
        if degrees_between(start, found, fixed.centre) >= APART_DEGREES
    ]
    values = values_at(fixed, moving, starts, cancel, GLANCE_VOXEL_MM)
    best = [starts[place] for place in np.argsort(values)[::-1][:CLIMBED]]
    climbed = _elsewhere(fixed, found, climb(fixed, moving, best, SEARCH, seed, cancel))
    reached = mutual_information(fixed, moving, found, voxel_mm=SEARCH.voxel_mm)
    rivals = [one for one in climbed if one.mutual_information > RIVAL_SHARE * reached]
    if rivals:
        starts = [one.transform for one in rivals[:REFINED]]
        climbed = _elsewhere(fixed, found, climb(fixed, moving, starts, COARSE, seed, cancel))
    if not climbed:
        return Turned(0.0, 0.0)
    place = climbed[0].transform
    information = mutual_information(fixed, moving, place)
    return Turned(information, degrees_between(place, found, fixed.centre), place)


def _elsewhere(fixed: Head, found: SimpleITK.Transform, climbed: list[Found]) -> list[Found]:
    """The places that are not ``found``."""
    points = box_points(fixed.mask)
    return [
        one for one in climbed if displacements(one.transform, found, points).mean() > AGREEING_MM
    ]


def degrees_between(
    one: SimpleITK.Transform, two: SimpleITK.Transform, centre: tuple[float, float, float]
) -> float:
    """Angle, 0 to 180°, of the turn that leads from one transform to the other."""
    first, second = (matrix_of(with_freedom(each, "rigid", centre))[:3, :3] for each in (one, two))
    cosine = (np.trace(first.T @ second) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def spread_rotations(count: int) -> list[tuple[float, ...]]:
    """Unit quaternions (x, y, z, w) spread evenly over all rotations.

    A super-Fibonacci spiral (Alexa, CVPR 2022): place s = i + ½ of n has the radii √(s/n) and
    √(1 − s/n), and the angles 2πs/√2 and 2πs/ψ, with ψ⁴ = ψ + 4.
    """
    places = np.arange(count) + 0.5
    psi = max(np.roots([1.0, 0.0, 0.0, -1.0, -4.0]).real)
    first, second = 2 * np.pi * places / np.sqrt(2.0), 2 * np.pi * places / psi
    near, far = np.sqrt(places / count), np.sqrt(1 - places / count)
    spiral = [
        near * np.sin(first),
        near * np.cos(first),
        far * np.sin(second),
        far * np.cos(second),
    ]
    return [tuple(quaternion) for quaternion in np.stack(spiral, axis=1).tolist()]


def _centred_starts(fixed: Head, moving: Head) -> list[SimpleITK.Transform]:
    """Centre of mass on centre of mass, in every rotation."""
    shift = (np.array(moving.centre) - fixed.centre).tolist()
    return [
        SimpleITK.VersorRigid3DTransform(quaternion, shift, fixed.centre)
        for quaternion in spread_rotations(ROTATIONS)
    ]
