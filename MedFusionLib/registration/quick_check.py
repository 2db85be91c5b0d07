"""Whether two heads lie on each other as they are placed, in seconds and without registering them.

One coarse climb starts from the place as it is. Where the heads lie on each other it stays there;
where they do not, it walks away, and the way is how far they are apart. This finds what a
registration would move; it does not prove that a place is right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import SimpleITK

    from MedFusionLib.volumes.volume import Volume

ALIGNED = "aligned"
APART = "apart"
UNKNOWN = "unknown"

APART_MM = 6.0
"""Mean way at the corners of the head, from which on the heads are said to lie apart. The coarse
climb itself is good to about 2 mm; PET and MR of one frame of reference may differ by as much
again."""
MORE_INFORMATION = 1.02
"""A place that tells no more than this much of the first is no better one."""


@dataclass(frozen=True)
class QuickCheck:
    """``verdict``: aligned, apart or unknown; how far apart in mm; and a sentence."""

    verdict: str
    millimetres: float | None
    sentence: str

    def to_report(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def quick_check(
    reference: Volume,
    other: Volume,
    transform: SimpleITK.Transform | None = None,
    cancel: Callable[[], bool] = lambda: False,
) -> QuickCheck:
    """Look whether the heads lie on each other.

    ``transform`` maps points of the reference's space to the other's (LPS, mm); None for the
    positions as they are. Raises ``InputError`` for volumes without a head, and ``Cancelled``.
    """
    # Here, because the panel that takes only the words above should open at once.
    import SimpleITK

    from MedFusionLib.registration.images import box_points, see_head
    from MedFusionLib.registration.measures import mutual_information
    from MedFusionLib.registration.overlap import resample
    from MedFusionLib.registration.search import COARSE, climb, one_thread_each
    from MedFusionLib.registration.transforms import displacements

    if transform is not None:
        other = resample(other, reference, transform)
    with one_thread_each():
        fixed, moving = see_head(reference, "reference"), see_head(other, "other")
        here = SimpleITK.Euler3DTransform(fixed.centre)
        found = climb(fixed, moving, [here], COARSE, 0, cancel)
        if not found:
            return QuickCheck(UNKNOWN, None, "The heads hardly overlap: register the volumes.")
        there = found[0].transform
        way = float(displacements(there, here, box_points(fixed.mask)).mean())
        before, after = (mutual_information(fixed, moving, place) for place in (here, there))
    if way < APART_MM or after < MORE_INFORMATION * before:
        return QuickCheck(ALIGNED, way, "A quick look found no displacement of the heads.")
    return QuickCheck(
        APART, way, f"These heads do not lie on each other (about {way:.0f} mm): register them."
    )
