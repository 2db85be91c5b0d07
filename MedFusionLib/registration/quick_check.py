"""Do two volumes lie where they say they do? An answer in seconds, without an alignment.

It finds what a registration would move; it does not prove that a place is right. How often it is
right is measured in docs/ALIGNMENT.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from MedFusionLib.errors import RegistrationError

if TYPE_CHECKING:
    import SimpleITK

    from MedFusionLib.registration.sighting import Sighting
    from MedFusionLib.volumes.volume import Volume

ALIGNED = "lie on each other"
APART = "shifted"
UNKNOWN = "cannot tell"

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

    ``millimetres``: mean distance, over the corners of the head's box, between where they lie and
    where they fit best; None where that cannot be told. ``sentence`` says it to a user.
    """

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
    """Whether the heads of two volumes lie on each other as filed, or by ``transform``.

    ``transform`` maps reference space to other space (LPS, mm). The same volumes give the same
    answer. Seeks within about 20° and 30 mm of the given place and of the heads' centres. Raises
    ``InputError`` for volumes without a head, ``IdentityError`` for two patients, ``Cancelled``.
    """
    # Here, because a panel that takes only the words above should open at once.
    from MedFusionLib.registration.sighting import look
    from MedFusionLib.volumes.identity import refuse_two_patients

    refuse_two_patients(reference, other, force=False)
    try:
        return _answer(look(reference, other, transform, cancel))
    except RegistrationError as reason:
        return _cannot_tell(str(reason))


def _answer(sighting: Sighting) -> QuickCheck:
    diagonal = sighting.diagonal_mm
    near = max(LEAST_NEAR_MM, NEAR_DIAGONALS * diagonal)
    if sighting.overlap < LEAST_OVERLAP:
        return _cannot_tell("the heads hardly overlap.")
    if sighting.mutual_information < LEAST_INFORMATION:
        return _cannot_tell("they tell almost nothing about each other.")
    if sighting.apart_mm > max(SHARP_DIAGONALS * diagonal, SHARP_SHARE * sighting.away_mm):
        return _cannot_tell("the place where they fit best is not sharp.")
    if sighting.away_mm <= near:
        return QuickCheck(
            ALIGNED,
            sighting.away_mm,
            f"The volumes lie on each other, as far as a quick look can tell: to {near:.1f} mm.",
        )
    return QuickCheck(
        APART,
        sighting.away_mm,
        "These heads do not lie on each other: they are shifted by about "
        f"{sighting.away_mm:.0f} mm. Register them.",
    )


def _cannot_tell(reason: str) -> QuickCheck:
    return QuickCheck(
        UNKNOWN, None, f"Whether the volumes lie on each other cannot be told: {reason}"
    )
