"""Registrations done again in other ways: how far do they end from the first one?

No single number of one registration tells whether it is right. A right one is found again from
other starts, with other samples, with the roles of the volumes exchanged, and by each half of
the head alone; a wrong one is not. Each repeat counts by what it can tell. A mirrored volume is
looked for by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import SimpleITK

from MedFusionLib.errors import RegistrationError
from MedFusionLib.registration.images import (
    Head,
    mirrored,
    reflection_about,
    surface_points,
)
from MedFusionLib.registration.measures import covered, mutual_information
from MedFusionLib.registration.search import (
    CHECK,
    COARSE,
    Cancel,
    Found,
    Stage,
    climb,
    never,
    optimise,
    side_by_side,
    values_at,
)
from MedFusionLib.registration.transforms import (
    displacements,
    from_matrix,
    inverse,
    matrix_of,
    with_freedom,
)

RESTARTS = 3
RESTART_DEGREES = 4.0
RESTART_MM = 6.0
TELLING_GAIN = 0.04
MIRROR_MARGIN = 1.01
MIRROR_DEGREES = (-15.0, 0.0, 15.0)
HALVES = (
    ("left half", 0, 1),
    ("right half", 0, -1),
    ("back half", 1, 1),
    ("front half", 1, -1),
    ("upper half", 2, 1),
    ("lower half", 2, -1),
)


@dataclass(frozen=True)
class Repeat:
    """One registration done again.

    ``residual_mm``: 95th percentile, over the part of the head's surface that it looked at, of
    the distance between where it and the registration under test put a point; infinite where it
    found no place at all. ``gain``: mutual information where it ended over that at the place
    under test, less one, both on what the repeat looked at: near 0 the repeat cannot tell the two
    places from each other, below 0 it got stuck on the way.
    """

    name: str
    residual_mm: float
    gain: float = 0.0

    @property
    def counted_mm(self) -> float:
        """The residual by what the repeat can tell.

        Half a head, blurred or alike all over, often drifts along a way on which nothing changes;
        that is no word against the place. It counts in full where it fits clearly better there.
        """
        if self.name not in (name for name, _, _ in HALVES) or not np.isfinite(self.residual_mm):
            return self.residual_mm
        return self.residual_mm * float(np.clip(self.gain / TELLING_GAIN, 0.0, 1.0))


@dataclass(frozen=True)
class Mirror:
    """How the registration compares with that of the other volume flipped left–right.

    Mutual information in nats, both on the same samples. ``likeness``: correlation, -1 to 1, of
    the volume with its own mirror image once both are aligned. ``residual_mm``: how far the flipped
    registration's own repeats end from it, as ``residual_of``; infinite where it found no place or
    does not fit better, so that nobody asked.
    """

    straight: float
    flipped: float
    likeness: float
    residual_mm: float = float("inf")

    @property
    def ratio(self) -> float:
        """Mutual information straight to flipped: above 1 where the volume fits better as it is."""
        return (self.straight + 1e-9) / (self.flipped + 1e-9)

    @property
    def fits_better(self) -> bool:
        """Whether the volume fits better mirrored than as it is."""
        return self.ratio < 1 / MIRROR_MARGIN


@dataclass(frozen=True)
class Again:
    """A registration to do again: ``points`` (N, 3) in mm that it looks at, ``register()``, and
    ``before()``, the mutual information of the place under test as the repeat measures it."""

    name: str
    points: np.ndarray
    register: Callable[[], Found]
    before: Callable[[], float]


def nothing() -> None:
    """An ``advance`` that nobody watches."""


def repeat_registration(
    fixed: Head,
    moving: Head,
    found: SimpleITK.Transform,
    kind: str,
    seed: int,
    advance: Callable[[], None] = nothing,
    cancel: Cancel = never,
) -> list[Repeat]:
    """Residuals of registrations from other starts and seeds, exchanged roles, and halves.

    ``found`` maps the fixed to the moving head; ``kind`` is rigid or affine. ``advance()`` is
    told after each registration.
    """
    surface = surface_points(fixed.mask)
    runs = _restarts(fixed, moving, found, surface, kind, seed, cancel)
    back = inverse(found, kind, moving.centre)
    runs.append(
        Again(
            "roles exchanged",
            surface,
            partial(_exchanged, fixed, moving, back, kind, seed, cancel),
            partial(mutual_information, moving, fixed, back),
        )
    )
    for name, axis, side in HALVES:
        points = surface[side * (surface[:, axis] - fixed.centre[axis]) > 0]
        half = _half(fixed, axis, side)
        if len(points) and covered(replace(fixed, mask=half), moving, found) > 0.5:
            register = partial(_from, fixed, moving, half, found, kind, seed, cancel)
            before = partial(mutual_information, fixed, moving, found, half)
            runs.append(Again(name, points, register, before))

    def repeat(run: Again) -> Repeat:
        try:
            again = run.register()
        except RegistrationError:  # the heads came apart
            return Repeat(run.name, float("inf"))
        finally:
            advance()
        distances = displacements(again.transform, found, run.points)
        gain = (again.mutual_information + 1e-9) / (run.before() + 1e-9) - 1
        return Repeat(run.name, float(np.percentile(distances, 95)), gain)

    return side_by_side(repeat, runs)


def residual_of(repeats: Sequence[Repeat]) -> float:
    """Root mean square of the residuals in mm, each by what its repeat can tell."""
    return float(np.sqrt(np.mean([again.counted_mm**2 for again in repeats])))


def _restarts(
    fixed: Head,
    moving: Head,
    found: SimpleITK.Transform,
    surface: np.ndarray,
    kind: str,
    seed: int,
    cancel: Cancel,
) -> list[Again]:
    random = np.random.default_rng(seed)
    before = partial(mutual_information, fixed, moving, found)
    runs = []
    for number in range(1, RESTARTS + 1):
        start = _disturbed(found, kind, fixed, random)
        register = partial(_afar, fixed, moving, start, kind, seed + number, cancel)
        runs.append(Again(f"start {number}", surface, register, before))
    return runs


def _disturbed(
    transform: SimpleITK.Transform, kind: str, fixed: Head, random: np.random.Generator
) -> SimpleITK.Transform:
    """Turned by 4° and shifted by 6 mm in a random direction."""
    turn, shift = (way / np.linalg.norm(way) for way in random.normal(size=(2, 3)))
    angles = np.radians(RESTART_DEGREES) * turn
    nudge = SimpleITK.Euler3DTransform(
        fixed.centre, *angles.tolist(), (RESTART_MM * shift).tolist()
    )
    return from_matrix(matrix_of(transform) @ matrix_of(nudge), kind, fixed.centre)


def _afar(
    fixed: Head, moving: Head, start: SimpleITK.Transform, kind: str, seed: int, cancel: Cancel
) -> Found:
    """Climb from a start that lies off: on 4 mm voxels first."""
    near = _climb_on(COARSE, fixed, moving, fixed.skin, start, "rigid", seed, cancel)
    return _from(fixed, moving, fixed.skin, near.transform, kind, seed, cancel)


def _from(
    fixed: Head,
    moving: Head,
    mask: SimpleITK.Image,
    start: SimpleITK.Transform,
    kind: str,
    seed: int,
    cancel: Cancel,
) -> Found:
    return _climb_on(CHECK, fixed, moving, mask, start, kind, seed, cancel)


def _climb_on(
    stage: Stage,
    fixed: Head,
    moving: Head,
    mask: SimpleITK.Image,
    start: SimpleITK.Transform,
    kind: str,
    seed: int,
    cancel: Cancel,
) -> Found:
    begin = with_freedom(start, kind, fixed.centre)
    return optimise(fixed, moving, mask, begin, stage, seed, cancel)


def _exchanged(
    fixed: Head, moving: Head, back: SimpleITK.Transform, kind: str, seed: int, cancel: Cancel
) -> Found:
    again = optimise(moving, fixed, moving.skin, back, CHECK, seed, cancel)
    return replace(again, transform=inverse(again.transform, kind, fixed.centre))


def _half(head: Head, axis: int, side: int) -> SimpleITK.Image:
    """Skin mask of one half of the head, cut through its centre across a patient axis."""
    skin = head.skin
    inside = SimpleITK.GetArrayFromImage(skin)
    indices = np.argwhere(inside)
    axes = np.array(skin.GetDirection()).reshape(3, 3) * skin.GetSpacing()
    places = indices[:, ::-1] @ axes[axis] + skin.GetOrigin()[axis]
    beyond = indices[side * (places - head.centre[axis]) < 0]
    inside[tuple(beyond.T)] = 0
    half = SimpleITK.GetImageFromArray(inside)
    half.CopyInformation(skin)
    return half


def look_for_mirror(
    fixed: Head,
    moving: Head,
    found: SimpleITK.Transform,
    kind: str,
    seed: int,
    cancel: Cancel = never,
) -> Mirror:
    """Register the moving head flipped left–right, too, and compare.

    Where the flipped head fits better, its registration is done again like the one under test:
    of many places that fit about as well, any may come out first, flipped or not.
    """
    flipped = mirrored(moving)
    # Flip, register, flip: where the registration would go if the head were its own mirror.
    start = reflection_about(moving.centre) @ matrix_of(found) @ reflection_about(fixed.centre)
    starts = _turned(from_matrix(start, "rigid", fixed.centre), fixed)
    order = np.argsort(values_at(fixed, flipped, starts, cancel))[::-1][:2]
    climbed = climb(fixed, flipped, [starts[place] for place in order], COARSE, seed, cancel)
    straight = mutual_information(fixed, moving, found)
    if not climbed:
        return Mirror(straight, 0.0, 0.0)
    climbed_on = _from(fixed, flipped, fixed.skin, climbed[0].transform, kind, seed, cancel)
    likeness = _likeness(fixed, (moving, found), (flipped, climbed_on.transform))
    mirror = Mirror(straight, climbed_on.mutual_information, likeness)
    if not mirror.fits_better:
        return mirror
    place = climbed_on.transform
    repeats = repeat_registration(fixed, flipped, place, kind, seed, cancel=cancel)
    return replace(mirror, residual_mm=residual_of(repeats))


def _turned(start: SimpleITK.Transform, fixed: Head) -> list[SimpleITK.Transform]:
    """The start, and it turned by 15°: the head need not look straight along the axes."""
    turns = [
        SimpleITK.Euler3DTransform(fixed.centre, 0.0, *np.radians(angles).tolist(), (0, 0, 0))
        for angles in np.stack(np.meshgrid(MIRROR_DEGREES, MIRROR_DEGREES), -1).reshape(-1, 2)
    ]
    return [
        from_matrix(matrix_of(start) @ matrix_of(turn), "rigid", fixed.centre) for turn in turns
    ]


def _likeness(
    fixed: Head, one: tuple[Head, SimpleITK.Transform], two: tuple[Head, SimpleITK.Transform]
) -> float:
    grid = fixed.mask
    inside = SimpleITK.GetArrayFromImage(grid) > 0
    values = [
        SimpleITK.GetArrayFromImage(
            SimpleITK.Resample(head.level(COARSE.voxel_mm), grid, transform)
        )[inside]
        for head, transform in (one, two)
    ]
    flat = min(value.std() for value in values) == 0
    return 0.0 if flat else float(np.corrcoef(values[0], values[1])[0, 1])
