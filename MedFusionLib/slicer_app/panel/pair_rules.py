"""The rules on how one volume lies to the reference, and what a user should know of the two.

Pure functions of plain values, without Qt and without a scene.
"""

from __future__ import annotations

from MedFusionLib.methods import METHODS
from MedFusionLib.registration.overlap import (
    DIFFERENT_FRAMES,
    LITTLE_OVERLAP,
    NO_OVERLAP,
    SAME_GRID,
)
from MedFusionLib.slicer_app.choices import AlignmentChoice
from MedFusionLib.slicer_app.panel.facts import Inputs, Options
from MedFusionLib.slicer_app.scene.sentences import bentText
from MedFusionLib.slicer_app.translation import _

REGISTERING = (AlignmentChoice.RIGID, AlignmentChoice.AFFINE, AlignmentChoice.DEFORMABLE)


def whatAlignmentLacks(inputs: Inputs, options: Options) -> str | None:
    """Why the other volume cannot be laid on the reference as it is chosen; None if it can."""
    alignment = options.alignment
    if alignment is AlignmentChoice.TRANSFORM and not options.hasTransform:
        return _("Choose the transform that takes the other volume to the reference.")
    if inputs.landmarkRefusal is not None:
        return inputs.landmarkRefusal
    if alignment in REGISTERING:
        return _whatRegistrationLacks(inputs, options)
    if inputs.overlapKind == NO_OVERLAP:
        return _(
            "The volumes do not overlap in space. Choose a registration, or check that they show "
            "the same patient and region."
        )
    if alignment is AlignmentChoice.TRANSFORM:
        return None
    if inputs.overlapKind == DIFFERENT_FRAMES and not options.force:
        return _(
            "The volumes have different frames of reference, so their positions cannot be "
            "compared. Choose a registration or a transform."
        )
    if alignment is AlignmentChoice.NONE and inputs.overlapKind not in (None, SAME_GRID):
        return _("The volumes are on different grids. Choose another alignment.")
    return None


def _whatRegistrationLacks(inputs: Inputs, options: Options) -> str | None:
    if inputs.isBent:
        return bentText()
    if options.alignment is AlignmentChoice.DEFORMABLE and not options.bendingInstalled:
        return _(
            "The deformable alignment needs the package convexAdam, which is not installed. "
            "Install it in Slicer's Python console with: "
            "slicer.util.pip_install('convexAdam>=0.2'). Or choose the rigid registration."
        )
    return None


def pairWarnings(inputs: Inputs, options: Options) -> tuple[str, ...]:
    """What a user should know of the two volumes although they may be fused."""
    found = []
    if inputs.other is not None and not _isMadeFor(options.method, inputs.other.modality):
        found.append(
            _("The method {method} was not made for {modality}. Look twice.").format(
                method=options.method, modality=inputs.other.modality
            )
        )
    if options.alignment not in REGISTERING and 0 < inputs.overlapFraction < LITTLE_OVERLAP:
        found.append(
            _("Only {percent} % of the smaller volume overlaps.").format(
                percent=round(100 * inputs.overlapFraction)
            )
        )
    if options.apart is not None and options.alignment not in REGISTERING:
        found.append(options.apart)
    if options.force and inputs.overlapKind == DIFFERENT_FRAMES:
        found.append(_("Different frames of reference: the volumes are fused as they lie."))
    return tuple(found)


def _isMadeFor(method: str, modality: str) -> bool:
    card = METHODS.get(method)
    return card is None or modality == "unknown" or modality in card.modalities
