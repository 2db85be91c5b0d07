"""The panel's rules: from what is chosen and what is going on to what the panel shows.

Pure functions of plain values, without Qt and without a scene, so that every rule can be tested.
"""

from __future__ import annotations

from dataclasses import dataclass

from MedFusionLib.methods import METHODS
from MedFusionLib.registration.overlap import (
    DIFFERENT_FRAMES,
    LITTLE_OVERLAP,
    NO_OVERLAP,
    SAME_GRID,
)
from MedFusionLib.slicer_app.choices import AlignmentChoice, Colour
from MedFusionLib.slicer_app.panel.facts import Inputs, JobState, Options
from MedFusionLib.slicer_app.panel.texts import (
    factsText,
    identityText,
    methodText,
    relationText,
)
from MedFusionLib.slicer_app.scene.sentences import bentText
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.volumes.identity import differing_fields

FUNCTIONAL = ("PET", "SPECT")
REGISTERING = (AlignmentChoice.RIGID, AlignmentChoice.AFFINE, AlignmentChoice.DEFORMABLE)


@dataclass(frozen=True)
class PanelState:
    """What the panel shows."""

    applyEnabled: bool
    applyText: str
    applyToolTip: str
    inputsEnabled: bool
    previewEnabled: bool
    previewToolTip: str
    relationText: str
    referenceText: str
    otherText: str
    missing: str | None
    """Why nothing can be fused yet."""
    registerOffered: bool
    """Whether the heads lie apart, so that a registration is to be chosen with one click."""
    question: str | None
    """What has to be confirmed before a run begins."""
    methodText: str
    warnings: tuple[str, ...]


def panelState(inputs: Inputs, options: Options, job: JobState) -> PanelState:
    """Everything the panel shows for these inputs, options and this run."""
    missing = whatIsMissing(inputs, options)
    previewMissing = missing or whatKeepsPreview(options, job)
    return PanelState(
        applyEnabled=job.running or missing is None,
        applyText=_applyText(job),
        applyToolTip=_applyToolTip(options, job, missing),
        inputsEnabled=not job.running,
        previewEnabled=previewMissing is None,
        previewToolTip=previewMissing or _("Fuse the slice of a slice view and lay it over it"),
        relationText=relationText(inputs, options.looked),
        referenceText=factsText(inputs.reference),
        otherText=factsText(inputs.other),
        missing=None if job.running else missing,
        question=differentPatients(inputs),
        registerOffered=options.apart is not None
        and options.alignment not in REGISTERING
        and not job.running,
        methodText=methodText(options.method),
        warnings=warnings(inputs, options),
    )


def whatIsMissing(inputs: Inputs, options: Options) -> str | None:
    """Why nothing can be fused yet, as a sentence that says what to do; None if it can."""
    if inputs.reference is None:
        return _("Choose a reference volume (MR).")
    if inputs.other is None:
        return _("Choose the other volume (CT, PET or SPECT).")
    refusal = inputs.reference.refusal or inputs.other.refusal
    if refusal is not None:
        return refusal
    if inputs.sameVolume:
        return _("Choose two different volumes.")
    if inputs.reference.isColour:
        return _("The reference is a color volume. Choose a grayscale one.")
    return _whatAlignmentLacks(inputs, options) or _whatOutputLacks(inputs, options)


def _whatAlignmentLacks(inputs: Inputs, options: Options) -> str | None:
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


def _whatOutputLacks(inputs: Inputs, options: Options) -> str | None:
    if inputs.outputIsInput:
        return _("The output is one of the inputs, which would be lost. Choose another one.")
    if inputs.outputIsForeign:
        return _(
            "The output was not made by MedFusion, and its voxels would be lost. Choose a fused "
            "volume, or a new one."
        )
    if inputs.outputIsColour is not None and inputs.outputIsColour != isColourResult(
        inputs, options
    ):
        return (
            _("The output volume is in color, but the result is grayscale. Choose a new output.")
            if inputs.outputIsColour
            else _("The output volume is grayscale, but the result is in color. Choose a new one.")
        )
    return None


def isColourResult(inputs: Inputs, options: Options) -> bool:
    """Whether the fused volume will be in color."""
    if options.colour is not Colour.AUTOMATIC:
        return options.colour is not Colour.GREY
    other = inputs.other
    return other is not None and (other.isColour or other.modality in FUNCTIONAL)


def whatKeepsPreview(options: Options, job: JobState) -> str | None:
    """Why a slice cannot be previewed although the volumes could be fused."""
    if job.running:
        return _("A fusion is running.")
    if not options.torchInstalled:
        return _("PyTorch is not installed yet. Apply installs it, after asking.")
    if options.alignment in REGISTERING and options.hasFoundTransform:
        return _("Press 'Use this transform from now on' under Result to see slices with it.")
    if options.alignment in REGISTERING:
        return _("Register first: press Apply, or choose a transform.")
    return None


def _applyText(job: JobState) -> str:
    if job.cancelling:
        return _("&Cancel now")
    return _("&Cancel") if job.running else _("&Apply")


def _applyToolTip(options: Options, job: JobState, missing: str | None) -> str:
    if job.cancelling:
        return _("Stop the fusion process at once")
    if job.running:
        return _("Stop after the slices that are being fused; the scene stays as it was")
    if missing is not None:
        return missing
    if not options.torchInstalled:
        return _("Fuse the two volumes. PyTorch is installed first, after asking.")
    return _("Fuse the two volumes")


def warnings(inputs: Inputs, options: Options) -> tuple[str, ...]:
    """What a user should know although the fusion may run."""
    found = []
    if (patients := differentPatients(inputs)) is not None:
        found.append(patients)
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
    if options.deviceWarning:
        found.append(options.deviceWarning)
    return tuple(found)


def differentPatients(inputs: Inputs) -> str | None:
    """A sentence with both identities where DICOM tells of two patients, else None."""
    reference, other = inputs.reference, inputs.other
    if reference is None or other is None:
        return None
    if not differing_fields(reference.identity, other.identity):
        return None
    return _(
        "Different patients: the reference shows {reference}, the other volume {other}."
    ).format(reference=identityText(reference), other=identityText(other))


def _isMadeFor(method: str, modality: str) -> bool:
    card = METHODS.get(method)
    return card is None or modality == "unknown" or modality in card.modalities
