"""How far an alignment can be trusted, in numbers, one word and a sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MedFusionLib.registration.checks import (
    MIRROR_MARGIN,
    Mirror,
    Repeat,
    look_for_mirror,
    nothing,
    repeat_registration,
    residual_of,
)
from MedFusionLib.registration.images import surface_points, voxel_diagonal
from MedFusionLib.registration.measures import head_overlap, mutual_information
from MedFusionLib.registration.position import Position
from MedFusionLib.registration.search import Cancel, never
from MedFusionLib.registration.transforms import displacements
from MedFusionLib.registration.turns import Turned, degrees_between
from MedFusionLib.volumes.volume import Volume

PASS = "pass"
DOUBTFUL = "doubtful"
FAILED = "failed"

LEAST_OVERLAP = 0.3
GOOD_OVERLAP = 0.6
LEAST_LIMIT_MM = 1.0
LIMIT_DIAGONALS = 0.75
FAILING_LIMITS = 3.0
LEAST_INFORMATION = 0.15
WORSE = 0.95
OWN_MIRROR = 0.98
ASYMMETRY_SHARE = 0.3
CLEAR_MIRROR_RATIO = 1.1
FLIP_LIMITS = 2.5
FLIP_INFORMATION = 0.25
FLIP_HOLDS_LIMITS = 1.5
TURNED_SHARE = 0.95
USUAL_DEGREES = 45.0
SAME_FRAME_WAY_MM = 20.0
# Where these numbers come from: docs/ALIGNMENT.md.

SAME_FRAME = "same"
DIFFERENT_FRAMES = "different"
UNKNOWN_FRAMES = "unknown"
FRAME_SENTENCES = {
    SAME_FRAME: "Both volumes carry the same frame of reference.",
    DIFFERENT_FRAMES: (
        "The volumes carry different frames of reference, so only the registration tells how they "
        "lie to each other."
    ),
    UNKNOWN_FRAMES: (
        "At least one volume carries no frame of reference, so it is unknown whether their "
        "positions can be compared."
    ),
}


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on.

    ``mutual_information_before``, ``_after``: nats, over the head and 10 mm around it, with the
    positions as in the files and as aligned. ``overlap``: share of the smaller head inside the
    other image, 0 to 1. ``residual_mm``: root mean square of the repeats' residuals at the head's
    surface, each by what the repeat can tell, and ``residual_limit_mm``, up to which it passes.
    ``moved_mm``: mean way of the head's surface from the positions in the files.
    ``turned_degrees``: turn from where the
    registration was told to look, that is from the positions in the files or from the initial
    transform. ``frames_of_reference``: same, different or unknown. ``turned_information``: mutual
    information of the best place that is turned far away from the one found, by
    ``turned_information_degrees``.
    """

    mutual_information_before: float
    mutual_information_after: float
    overlap: float
    residual_mm: float
    residual_limit_mm: float
    moved_mm: float
    turned_degrees: float
    turned_information: float
    turned_information_degrees: float
    frames_of_reference: str
    mirror: Mirror


@dataclass(frozen=True)
class RegistrationQuality:
    """``verdict``: pass, doubtful or failed; ``reason``: why, in sentences; and the evidence.

    ``repeats`` are the registrations that were done again, one by one.
    """

    verdict: str
    reason: str
    evidence: Evidence
    repeats: tuple[Repeat, ...]

    @property
    def frames_sentence(self) -> str:
        """What the files say about whether positions can be compared."""
        return FRAME_SENTENCES[self.evidence.frames_of_reference]

    def to_report(self) -> dict[str, Any]:
        """Plain JSON values; an infinite residual (no position found, or not asked for) becomes
        None."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "frames_sentence": self.frames_sentence,
            **asdict(self.evidence),
            "residual_mm": _finite(self.evidence.residual_mm),
            "mirror": {
                **asdict(self.evidence.mirror),
                "residual_mm": _finite(self.evidence.mirror.residual_mm),
            },
            "repeats": [
                {
                    "name": again.name,
                    "residual_mm": _finite(again.residual_mm),
                    "counted_mm": _finite(again.counted_mm),
                }
                for again in self.repeats
            ],
        }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def frames_of_reference(reference: Volume, other: Volume) -> str:
    """``same``, ``different`` or ``unknown``, by the volumes' frame of reference UIDs."""
    one = reference.metadata.get("frame_of_reference_uid")
    two = other.metadata.get("frame_of_reference_uid")
    if not one or not two:
        return UNKNOWN_FRAMES
    return SAME_FRAME if one == two else DIFFERENT_FRAMES


def judge(
    volumes: tuple[Volume, Volume],
    position: Position,
    turned: Turned,
    freedom: str,
    seed: int,
    advance: Callable[[], None] = nothing,
    cancel: Cancel = never,
) -> RegistrationQuality:
    """Register again in other ways, look for a mirrored volume, and give a verdict.

    ``volumes`` are the fixed and the moving one, ``turned`` is the best place turned far away from
    the position, ``freedom`` is rigid or affine.
    """
    (fixed, moving), found = position.heads, position.found
    surface = surface_points(fixed.mask)
    overlap = head_overlap(fixed, moving, found, freedom)
    repeats, mirror = [Repeat("any", float("inf"))], Mirror(0.0, 0.0, 0.0)
    if overlap >= LEAST_OVERLAP:  # with less there is nothing to register again
        repeats = repeat_registration(fixed, moving, found, freedom, seed, advance, cancel)
        mirror = look_for_mirror(fixed, moving, found, freedom, seed, cancel)
        advance()
    evidence = Evidence(
        mutual_information_before=mutual_information(fixed, moving, position.filed),
        mutual_information_after=mutual_information(fixed, moving, found),
        overlap=overlap,
        residual_mm=residual_of(repeats),
        residual_limit_mm=max(LEAST_LIMIT_MM, LIMIT_DIAGONALS * max(map(voxel_diagonal, volumes))),
        moved_mm=float(displacements(found, position.filed, surface).mean()),
        turned_degrees=degrees_between(found, position.expected, fixed.centre),
        turned_information=turned.mutual_information,
        turned_information_degrees=turned.degrees,
        frames_of_reference=frames_of_reference(*volumes),
        mirror=mirror,
    )
    verdict, reason = give_verdict(evidence)
    return RegistrationQuality(verdict, reason, evidence, tuple(repeats))


def give_verdict(evidence: Evidence) -> tuple[str, str]:
    """``pass``, ``doubtful`` or ``failed``, and the sentences for it."""
    failures = _failures(evidence)
    if failures:
        return FAILED, " ".join(failures + _fits_elsewhere(evidence))
    doubts = _doubts(evidence)
    if doubts:
        return DOUBTFUL, " ".join(doubts)
    return PASS, _praise(evidence)


def _failures(evidence: Evidence) -> list[str]:
    found = []
    if evidence.overlap < LEAST_OVERLAP:
        found.append(
            f"Only {100 * evidence.overlap:.0f} % of the smaller head lies inside the other volume."
        )
    if not evidence.residual_mm <= FAILING_LIMITS * evidence.residual_limit_mm:
        found.append(
            "The two volumes may not show the same head: repeated registrations end "
            f"{_millimetres(evidence.residual_mm)} apart at the head's surface, and no stable "
            "position was found."
        )
    return found + (_flipped(evidence) if evidence.mirror.fits_better else [])


def _flipped(evidence: Evidence) -> list[str]:
    """A flip is named only where the head was recognised (a knee fits no worse mirrored, either),
    and where the mirrored place holds: as well as a right one, or at least better than this."""
    mirror, limit = evidence.mirror, evidence.residual_limit_mm
    steady = evidence.residual_mm <= FLIP_LIMITS * limit
    if not (steady and mirror.flipped >= FLIP_INFORMATION):
        return [
            "The other volume fits better mirrored, yet no better than another head may. Check "
            "that both volumes show the same head, and their orientation where they were exported."
        ]
    if mirror.residual_mm > max(FLIP_HOLDS_LIMITS * limit, evidence.residual_mm):
        return []
    return [
        "The other volume looks flipped left–right: it fits better mirrored. Check its "
        "orientation where it was exported."
    ]


def _doubts(evidence: Evidence) -> list[str]:
    found = []
    if evidence.overlap < GOOD_OVERLAP:
        found.append(
            f"Only {100 * evidence.overlap:.0f} % of the smaller head lies inside the other volume."
        )
    if evidence.residual_mm > evidence.residual_limit_mm:
        found.append(
            f"Repeated registrations differ by {_millimetres(evidence.residual_mm)} at the head's "
            f"surface, more than {_millimetres(evidence.residual_limit_mm)}."
        )
    if evidence.mutual_information_after < LEAST_INFORMATION:
        found.append("The two volumes tell almost nothing about each other.")
    if evidence.mutual_information_after < WORSE * evidence.mutual_information_before:
        found.append("The volumes tell less about each other than before the alignment.")
    found += _fits_mirrored(evidence.mirror) + _fits_elsewhere(evidence)
    if evidence.turned_degrees > USUAL_DEGREES:
        found.append(
            f"The other volume had to be turned by {evidence.turned_degrees:.0f}°. Check the "
            "orientation of both volumes where they were exported."
        )
    if evidence.frames_of_reference == SAME_FRAME and evidence.moved_mm > SAME_FRAME_WAY_MM:
        found.append(
            "Both volumes carry the same frame of reference, yet the alignment moves the head by "
            f"{_millimetres(evidence.moved_mm)}."
        )
    if found:
        found.append("Look at it before you trust it.")
    return found


def _telling_ratio(mirror: Mirror) -> float:
    """From which ratio on the volume fits clearly better as it is than mirrored.

    Two volumes of one head share what is not alike on its two sides, so the more that is, the worse
    they fit when one is mirrored. Another head has unlike sides of its own.
    """
    expected = 1 + ASYMMETRY_SHARE * (1 - mirror.likeness)
    return float(np.clip(expected, MIRROR_MARGIN, CLEAR_MIRROR_RATIO))


def _fits_mirrored(mirror: Mirror) -> list[str]:
    if mirror.fits_better:
        return [
            "The other volume fits better mirrored, yet there its place holds even less. Whether "
            "it is flipped left–right cannot be told."
        ]
    if mirror.likeness >= OWN_MIRROR or mirror.ratio >= _telling_ratio(mirror):
        return []
    if mirror.ratio < MIRROR_MARGIN:
        return ["Whether the other volume is flipped left–right cannot be told."]
    return [
        "The two volumes may not show the same head: mirrored, the other one fits nearly as well, "
        "although its sides are not alike."
    ]


def _fits_elsewhere(evidence: Evidence) -> list[str]:
    if evidence.turned_information <= TURNED_SHARE * evidence.mutual_information_after:
        return []
    return [
        f"Turned by {evidence.turned_information_degrees:.0f}° more, the other volume fits about "
        "as well or better."
    ]


def _praise(evidence: Evidence) -> str:
    symmetric = (
        " The volume is its own mirror image, so a left–right flip could not be seen."
        if evidence.mirror.ratio < MIRROR_MARGIN
        else ""
    )
    return (
        f"Repeated registrations agree to {_millimetres(evidence.residual_mm)} at the head's "
        f"surface (limit {_millimetres(evidence.residual_limit_mm)}).{symmetric}"
    )


def _millimetres(length: float) -> str:
    return f"{length:.1f} mm" if np.isfinite(length) else "any distance"
