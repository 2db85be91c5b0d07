"""The panel's rules: from what is chosen and what is going on to what the panel shows.

Pure functions of plain values, without Qt and without a scene, so that every rule can be tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from MedFusionLib.slicer_app.panel.facts import Inputs, JobState, Options
from MedFusionLib.slicer_app.panel.further_rules import (
    furtherNames,
    furtherTexts,
    furtherWarnings,
    isShownInColour,
    whatFurtherLack,
    whatKeepsFurtherPreview,
)
from MedFusionLib.slicer_app.panel.grid_rules import gridText, whatGridLacks
from MedFusionLib.slicer_app.panel.pair_rules import (
    REGISTERING,
    pairWarnings,
    whatAlignmentLacks,
)
from MedFusionLib.slicer_app.panel.texts import (
    factsText,
    identityText,
    methodText,
    relationText,
)
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.volumes.identity import differing_fields


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
    furtherTexts: tuple[str, ...]
    """What each further volume is, and how it lies to the reference."""
    missing: str | None
    """Why nothing can be fused yet."""
    registerOffered: bool
    """Whether the heads lie apart, so that a registration is to be chosen with one click."""
    question: str | None
    """What has to be confirmed before a run begins."""
    methodText: str
    gridText: str
    """How many voxels and slices come out, where more than were measured."""
    warnings: tuple[str, ...]


def panelState(inputs: Inputs, options: Options, job: JobState) -> PanelState:
    """Everything the panel shows for these inputs, options and this run."""
    missing = whatIsMissing(inputs, options)
    previewMissing = missing or whatKeepsPreview(options, job) or whatKeepsFurtherPreview(inputs)
    return PanelState(
        applyEnabled=job.running or missing is None,
        applyText=_applyText(job),
        applyToolTip=_applyToolTip(2 + len(inputs.further), options, job, missing),
        inputsEnabled=not job.running,
        previewEnabled=previewMissing is None,
        previewToolTip=previewMissing or _("Fuse the slice of a slice view and lay it over it"),
        relationText=relationText(inputs, options.looked),
        referenceText=factsText(inputs.reference),
        otherText=factsText(inputs.other),
        furtherTexts=furtherTexts(inputs),
        missing=None if job.running else missing,
        question=differentPatients(inputs),
        registerOffered=options.apart is not None
        and options.alignment not in REGISTERING
        and not job.running,
        methodText=methodText(options.method),
        gridText=gridText(inputs, options),
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
    return (
        whatAlignmentLacks(inputs, options)
        or whatFurtherLack(inputs, options)
        or whatGridLacks(inputs, options)
        or _whatOutputLacks(inputs, options)
    )


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
    shown = [(inputs.other, options.colour), *((one.facts, one.colour) for one in inputs.further)]
    return any(isShownInColour(facts, colour) for facts, colour in shown)


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


def _applyToolTip(count: int, options: Options, job: JobState, missing: str | None) -> str:
    if job.cancelling:
        return _("Stop the fusion process at once")
    if job.running:
        return _("Stop after the slices that are being fused; the scene stays as it was")
    if missing is not None:
        return missing
    if not options.torchInstalled:
        return _("Fuse the {count} volumes. PyTorch is installed first, after asking.").format(
            count=_countText(count)
        )
    return _("Fuse the {count} volumes").format(count=_countText(count))


def _countText(count: int) -> str:
    return _("two") if count == 2 else str(count)


def warnings(inputs: Inputs, options: Options) -> tuple[str, ...]:
    """What a user should know although the fusion may run."""
    found = (
        differentPatients(inputs),
        *pairWarnings(inputs, options),
        *furtherWarnings(inputs, options),
        options.deviceWarning,
    )
    return tuple(sentence for sentence in found if sentence)


def differentPatients(inputs: Inputs) -> str | None:
    """A sentence with both identities where DICOM tells of two patients, else None."""
    reference, other = inputs.reference, inputs.other
    if reference is None or other is None:
        return None
    further = [one.facts for one in inputs.further]
    known = [facts for facts in (reference, other, *further) if facts is not None]
    if not any(differing_fields(one.identity, two.identity) for one, two in combinations(known, 2)):
        return None
    if not further:
        return _(
            "Different patients: the reference shows {reference}, the other volume {other}."
        ).format(reference=identityText(reference), other=identityText(other))
    named = ((_("Reference"), reference), (_("Other volume"), other), *furtherNames(inputs))
    return _("Different patients. {told}.").format(
        told="; ".join(f"{name}: {identityText(one) or _('not told')}" for name, one in named)
    )
