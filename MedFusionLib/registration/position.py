"""Where one head lies to another: roughly by moving its grid, exactly by a transform."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK

from MedFusionLib.registration.images import Head, laid, see_head
from MedFusionLib.registration.transforms import from_matrix, inverse, matrix_of, with_freedom
from MedFusionLib.volumes.volume import Volume

CLEARLY_SMALLER = 0.95

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Position:
    """A fixed head, and a moving head that was laid about where it belongs.

    Euler's angles lock at 90°, and a registration that has to climb there goes astray. So a head
    that is turned far is first laid right by its grid, and every transform that is optimised
    stays near identity.

    ``placing`` (rigid) leads from where the moving head is laid to where its file has it;
    ``found`` and ``expected`` lead from the fixed head to the laid one: what the registration
    found, and where it was told to look.
    """

    fixed: Head
    moving: Head
    placing: SimpleITK.Transform
    found: SimpleITK.Transform
    expected: SimpleITK.Transform

    @property
    def heads(self) -> tuple[Head, Head]:
        """The fixed and the laid head."""
        return self.fixed, self.moving

    @property
    def filed(self) -> SimpleITK.Transform:
        """From the fixed to the laid head, with both where their files have them."""
        return inverse(self.placing, "rigid", self.fixed.centre)

    def whole(self, freedom: str) -> SimpleITK.Transform:
        """From the fixed head to the moving one where its file has it; rigid or affine."""
        return from_matrix(
            matrix_of(self.placing) @ matrix_of(self.found), freedom, self.fixed.centre
        )

    def moved_to(self, found: SimpleITK.Transform) -> Position:
        """The same, with another transform found."""
        return replace(self, found=found)

    def laid_by(self, turn: SimpleITK.Transform) -> Position:
        """The moving head laid anew so that ``turn`` (fixed to laid head) becomes identity."""
        rigid = with_freedom(turn, "rigid", self.fixed.centre)
        back = np.linalg.inv(matrix_of(rigid))
        placing = matrix_of(self.placing) @ matrix_of(rigid)
        return Position(
            fixed=self.fixed,
            moving=laid(self.moving, rigid),
            placing=from_matrix(placing, "rigid", self.fixed.centre),
            found=from_matrix(back @ matrix_of(turn), "affine", self.fixed.centre),
            expected=from_matrix(back @ matrix_of(self.expected), "affine", self.fixed.centre),
        )


def place(heads: tuple[Head, Head], start: SimpleITK.Transform | None) -> Position:
    """The heads as their files have them, or the second one laid by ``start``."""
    fixed, moving = heads
    identity = with_freedom(SimpleITK.Transform(3, SimpleITK.sitkIdentity), "rigid", fixed.centre)
    filed = Position(fixed, moving, identity, identity, identity)
    if start is None:
        return filed
    return replace(filed, expected=start).laid_by(start)


def in_order(
    reference: Volume, other: Volume
) -> tuple[Point, tuple[Head, Head], tuple[Volume, Volume]]:
    """Centre of the reference's head; then heads and volumes, first the one to be sampled.

    Sampled is the smaller field of view, so that most samples find a partner. It also makes both
    directions of such a pair the same registration, and one the inverse of the other.
    """
    one, two = see_head(reference, "reference"), see_head(other, "other")
    if _extent(other) < CLEARLY_SMALLER * _extent(reference):
        return one.centre, (two, one), (other, reference)
    return one.centre, (one, two), (reference, other)


def _extent(volume: Volume) -> float:
    return float(np.prod(np.array(volume.grid_shape[::-1]) * volume.spacing))


def toward(
    initial: SimpleITK.Transform | None, fixed: Head, exchanged: bool
) -> SimpleITK.Transform | None:
    """The given transform, from the fixed to the moving head."""
    if initial is None:
        return None
    if exchanged:
        return inverse(initial, "affine", fixed.centre)
    return with_freedom(initial, "affine", fixed.centre)
