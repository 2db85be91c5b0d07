"""Laying one volume on another: ``align`` finds the transform and judges what it found.

    alignment = align(mr, pet)
    print(alignment.quality.verdict, alignment.quality.reason)
    fused = fuse(mr, pet, alignment=alignment.transform)

How well it does is measured in docs/ALIGNMENT.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import SimpleITK

from MedFusionLib.errors import Cancelled, InputError
from MedFusionLib.registration.deformable import Deformation, deform, refuse_missing_engine
from MedFusionLib.registration.images import Head
from MedFusionLib.registration.measures import mutual_information
from MedFusionLib.registration.overlap import resample
from MedFusionLib.registration.position import Position, in_order, place, toward
from MedFusionLib.registration.quality import DOUBTFUL, FAILED, RegistrationQuality, judge
from MedFusionLib.registration.search import (
    CANCELLED,
    COARSE,
    FINE,
    Cancel,
    Stage,
    best_rigid_start,
    improve,
    never,
    one_thread_each,
)
from MedFusionLib.registration.transform_checks import refuse_bad_transform
from MedFusionLib.registration.transforms import inverse, matrix_of, with_freedom
from MedFusionLib.registration.turns import Turned, look_all_around
from MedFusionLib.volumes.identity import refuse_two_patients

if TYPE_CHECKING:
    from MedFusionLib.volumes.volume import Volume

KINDS = ("rigid", "affine", "deformable", "none")
STEPS = 18
MESSAGE = "Aligning the volumes"
BENDING = "Bending the other volume"

COARSELY = ((COARSE, "rigid"),)
# Rigid first: with twelve parameters at once, a wrong scale makes up for a wrong place.
FINELY = {
    "rigid": ((FINE, "rigid"),),
    "affine": ((FINE, "rigid"), (FINE, "affine")),
}

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Alignment:
    """A transform, how far it can be trusted, and the other volume on the reference's grid.

    ``transform`` maps points of the reference's space to the other's (LPS, mm), ITK's convention:
    an Euler transform for ``rigid``, an affine one for ``affine``, both about the centre of the
    reference's head; for ``deformable`` the rigid one after a displacement field, which
    ``deformation`` describes.
    """

    transform: SimpleITK.Transform
    quality: RegistrationQuality
    resampled: Volume
    kind: str
    seed: int
    deformation: Deformation | None = None

    def to_report(self) -> dict[str, Any]:
        """Plain JSON values: kind, seed, 4×4 matrix (of the rigid part, where the volume was bent
        as well), and the quality's and the deformation's own reports."""
        linear = self.transform if self.deformation is None else self.deformation.rigid
        bent = {} if self.deformation is None else {"deformation": self.deformation.to_report()}
        return {
            "kind": self.kind,
            "seed": self.seed,
            "matrix": matrix_of(linear).tolist(),
            "quality": self.quality.to_report(),
            **bent,
        }


def align(
    reference: Volume,
    other: Volume,
    kind: str = "rigid",
    initial: SimpleITK.Transform | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    force: bool = False,
) -> Alignment:
    """Find where the other volume's head lies in the reference's space.

    ``kind``: ``rigid`` (turn and shift), ``affine`` (stretch and shear too), ``deformable``
    (bent a little after the rigid step, unless that failed; needs convexAdam), or ``none``, which
    only judges ``initial`` (or the positions as they are). ``initial`` is a linear transform from
    reference space to other space; a registration then climbs from there instead of searching.
    Runs with one ``seed`` repeat bit for bit. ``progress(done, total, message)`` is told after
    each step; ``cancel()`` is asked at every iteration. ``force`` aligns volumes whose headers name
    different patients.

    Raises ``InputError`` for volumes without a head or a bad argument, ``IdentityError`` for two
    patients, ``RegistrationError`` where no position gives the heads an overlap, ``Cancelled``. A
    bad result is not raised but judged: see ``quality.verdict`` (pass, doubtful or failed) and
    ``quality.reason``.
    """
    _check_arguments(kind, initial)
    refuse_two_patients(reference, other, force)
    steps = _Steps(progress, cancel)
    with one_thread_each():
        centre, heads, volumes = in_order(reference, other)
        steps.advance()
        exchanged = volumes[0] is other
        freedom = "rigid" if kind in ("rigid", "deformable") else "affine"
        start = toward(initial, heads[0], exchanged)
        position = place(heads, start)
        if kind != "none":
            if start is None:
                position = position.laid_by(_search(heads, seed, steps))
                steps.advance()
            else:
                position = _climbed(position, COARSELY, seed, steps)
            position = _climbed(position, FINELY[freedom], seed, steps)
        turned = look_all_around(*position.heads, position.found, seed, steps.cancelled)
        steps.advance()
        if kind != "none" and start is None:
            position, turned = _better_of(position, turned, freedom, seed, steps)
        quality = judge(volumes, position, turned, freedom, seed, steps.advance, steps.cancelled)
    found = position.whole(freedom)
    transform = inverse(found, freedom, centre) if exchanged else found
    deformation = None
    if kind == "deformable" and quality.verdict != FAILED:
        steps.bend()
        deformation = deform(reference, other, transform)
        transform, quality = deformation.transform, _told(quality, deformation)
    resampled = resample(other, reference, transform)
    steps.finish()
    return Alignment(transform, quality, resampled, kind, seed, deformation)


def _told(quality: RegistrationQuality, deformation: Deformation) -> RegistrationQuality:
    """The quality with what was bent; a large displacement is a doubt."""
    verdict = DOUBTFUL if deformation.is_large else quality.verdict
    return replace(quality, verdict=verdict, reason=f"{quality.reason} {deformation.sentence}")


def _check_arguments(kind: str, initial: SimpleITK.Transform | None) -> None:
    if kind not in KINDS:
        raise InputError(f"There is no alignment '{kind}'. Choose one of: {', '.join(KINDS)}.")
    if kind == "deformable":
        refuse_missing_engine()
    if initial is not None and not initial.IsLinear():
        raise InputError(
            "The initial transform bends space, and a registration can start from a rigid or "
            "affine one only. Give a linear transform."
        )
    if initial is not None:
        refuse_bad_transform(initial, "The initial transform")


def _search(heads: tuple[Head, Head], seed: int, steps: _Steps) -> SimpleITK.Transform:
    found = best_rigid_start(*heads, seed, steps.cancelled)
    steps.advance()
    return found


def _climbed(
    position: Position, stages: tuple[tuple[Stage, str], ...], seed: int, steps: _Steps
) -> Position:
    fixed, moving = position.heads
    found = position.found
    for stage, degrees in stages:
        begin = with_freedom(found, degrees, fixed.centre)
        found = improve(fixed, moving, fixed.skin, begin, stage, seed, steps.cancelled).transform
        steps.advance()
    return position.moved_to(found)


def _better_of(
    position: Position, turned: Turned, freedom: str, seed: int, steps: _Steps
) -> tuple[Position, Turned]:
    """The better of two places, climbed to the end, and the other one as its rival."""
    reached = mutual_information(*position.heads, position.found)
    if turned.transform is None or turned.mutual_information <= reached:
        return position, turned
    better = _climbed(position.laid_by(turned.transform), FINELY[freedom], seed, steps)
    return better, Turned(reached, turned.degrees, position.found)


class _Steps:
    """Counts finished steps for the progress; several threads may report to it."""

    def __init__(self, progress: Progress | None, cancel: Cancel | None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._done = 0
        self.cancelled = cancel or never

    def advance(self) -> None:
        """One step more; raises ``Cancelled`` if the user asked for it."""
        if self.cancelled():
            raise Cancelled(CANCELLED)
        with self._lock:
            self._done = min(self._done + 1, STEPS - 1)
            self._tell(self._done)

    def bend(self) -> None:
        """The last step begins, which tells no parts of itself and hears of no cancel."""
        if self.cancelled():
            raise Cancelled(CANCELLED)
        if self._progress is not None:
            self._progress(STEPS - 1, STEPS, BENDING)

    def finish(self) -> None:
        """All steps are done, however many there were."""
        with self._lock:
            self._tell(STEPS)

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, STEPS, MESSAGE)
