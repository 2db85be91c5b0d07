"""What the panel says of volumes, methods, progress and the pointer: from plain values to words."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from MedFusionLib.methods import METHODS
from MedFusionLib.registration.overlap import DIFFERENT_FRAMES, NO_OVERLAP, SAME_GRID
from MedFusionLib.slicer_app.panel.facts import Inputs, JobState
from MedFusionLib.slicer_app.scene.volume_facts import VolumeFacts
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.volumes.series_facts import SeriesFacts

FUSING = "Fusing slices"
"""The message with which ``MedFusionLib.fusion`` counts slices."""


def relationText(inputs: Inputs, looked: str | None = None) -> str:
    """How the two volumes lie to each other by their files, and what a quick look has found."""
    return " ".join(text for text in (_gridText(inputs), looked) if text)


def placeText(number: int) -> str:
    """What a volume behind the second is called, by its number, counted from 0."""
    known = (_("Third volume"), _("Fourth volume"), _("Fifth volume"))
    return known[number] if number < len(known) else _("Volume {number}").format(number=number + 3)


def furtherTitle(count: int) -> str:
    """The caption of the section with further volumes."""
    return _("Further volumes ({count})").format(count=count) if count else _("Further volumes")


def lookingText() -> str:
    """What stands for the answer of a quick look that is under way."""
    return _("Looking whether the heads lie on each other...")


def _gridText(inputs: Inputs) -> str:
    if inputs.overlapKind is None:
        return ""
    if inputs.overlapKind == SAME_GRID:
        return _("Same grid.")
    if inputs.overlapKind == NO_OVERLAP:
        return _("No overlap.")
    if inputs.overlapKind == DIFFERENT_FRAMES:
        return _("No common space: align first.")
    percent = round(100 * inputs.overlapFraction)
    return _(
        "Same space, other grid: will be resampled ({percent} % of the smaller volume overlaps)."
    ).format(percent=percent)


def modalityText(volume: VolumeFacts | None) -> str:
    """Modality of a volume and where it is known from; nothing where the user has chosen it."""
    if volume is None or volume.modalitySource == "given":
        return ""
    if volume.modality == "unknown":
        return _("Unknown: choose it")
    if volume.modalitySource == "guess":
        return _("{modality}, {reason}").format(
            modality=volume.modality, reason=volume.modalityReason
        )
    return _("from DICOM: {modality}").format(modality=volume.modality)


def identityText(volume: VolumeFacts | SeriesFacts) -> str:
    """Who a volume shows, and when, as DICOM tells; empty without DICOM."""
    known = volume.identity
    name = known.get("patient_name", "").split("=")[0].replace("^", " ").strip()
    parts = {
        "patient_name": name,
        "patient_id": _("ID {id}").format(id=known.get("patient_id")),
        "patient_birth_date": _("born {date}").format(date=dateText(known, "patient_birth_date")),
        "study_date": _("study of {date}").format(date=dateText(known, "study_date")),
    }
    return ", ".join(text for key, text in parts.items() if known.get(key) and text)


def dateText(known: Mapping[str, str], key: str) -> str:
    """A date of DICOM (YYYYMMDD) as YYYY-MM-DD; what is none stays as it is."""
    date = known.get(key, "")
    if len(date) == 8 and date.isdigit():
        return f"{date[:4]}-{date[4:6]}-{date[6:]}"
    return date


def factsText(volume: VolumeFacts | None) -> str:
    """What a chosen volume is and whom it shows, in one or two lines; or why it cannot be fused."""
    if volume is None:
        return ""
    if volume.refusal is not None:
        return volume.refusal
    return "\n".join(text for text in (modalityText(volume), identityText(volume)) if text)


def methodText(method: str) -> str:
    """What a method does, and for which modalities it was made or trained."""
    card = METHODS.get(method)
    if card is None:
        return ""
    modalities = ", ".join(card.modalities)
    made = (
        _("Trained for MR with {modalities}.")
        if card.kind == "learned"
        else _("Not trained; for MR with {modalities}.")
    )
    return f"{_summaries().get(method, card.summary)} {made.format(modalities=modalities)}"


@cache
def _summaries() -> dict[str, str]:
    """The methods' summaries once more, where Slicer's translators find them.

    A method that is missing here is told in the words of its card.
    """
    return {
        "average": _("Mean of the two sources: safe, low contrast."),
        "maximum": _("Brighter of the two sources at each pixel: keeps bone and hot spots."),
        "pyramid": _("Laplacian pyramid: the stronger detail of each scale over a chosen base."),
        "guided-filter": _(
            "Two-scale fusion with weights smoothed along edges by a guided filter."
        ),
        "additive": _(
            "Sum of both sources' detail over what is smooth in either: keeps most lesions."
        ),
        "asfe": _("Network that weighs both sources' bands of detail, trained to show lesions."),
        "dmfnet": _("DM-FNet: attention over the features of a denoising diffusion network."),
        "live": _("Small network trained as asfe is: for live preview and without a GPU."),
        "cddfuse": _(
            "CDDFuse: base and detail features; trained as published, then to show lesions."
        ),
    }


def _stepText(message: str) -> str:
    """The library's words for a step of the run, where Slicer's translators find them."""
    known = {
        "Aligning the volumes": _("Aligning the volumes"),
        "Bending the other volume": _("Bending the other volume"),
        "Measuring the fused slices": _("Measuring the fused slices"),
    }
    return known.get(message, message)


def progressText(job: JobState) -> str:
    """Slices done, slices per second and time left; other steps by their name."""
    if not job.running:
        return ""
    if job.cancelling:
        return _("Cancelling...")
    if job.total <= 0:
        return _stepText(job.message) or _("Starting...")
    if job.message != FUSING:
        return _("{step}: {percent} %").format(
            step=_stepText(job.message), percent=round(100 * job.done / job.total)
        )
    counted = _("{done} of {total} slices").format(done=job.done, total=job.total)
    fused = job.done - job.doneAtStart
    if job.seconds <= 0 or fused <= 0:
        return counted
    rate = fused / job.seconds
    left = timeText((job.total - job.done) / rate)
    return _("{counted}, {rate} slices/s, {left} left").format(
        counted=counted, rate=f"{rate:.1f}", left=left
    )


def doneText(report: Mapping[str, Any]) -> str:
    """How long the run that gave this report took, and where it ran."""
    seconds, device = report["seconds"], report["device_title"]
    fused = _("Done in {seconds} s on {device}.").format(
        seconds=f"{seconds['total']:.1f}", device=device
    )
    if "measure" not in seconds:
        return fused
    return (
        fused + " " + _("Measuring took {seconds} s.").format(seconds=f"{seconds['measure']:.1f}")
    )


def timeText(seconds: float) -> str:
    """A duration as seconds below two minutes, else as minutes."""
    if seconds < 120:
        return _("{seconds} s").format(seconds=round(seconds))
    return _("{minutes} min").format(minutes=round(seconds / 60))


def pointerDeletedText() -> str:
    """What stands for the tip's distance after the pointer has left the scene."""
    return _("The pointer was deleted: navigation has stopped.")


def notFollowedText() -> str:
    """What stands for the tip's distance while no pointer is followed."""
    return _("No pointer is followed.")


def distanceText(distance: float | None) -> str:
    """How far the pointer's tip is from the border of the fused volume (mm)."""
    if distance is None:
        return _("There is no volume to measure to.")
    if distance < 0:
        return _("{distance} mm outside the volume.").format(distance=f"{-distance:.1f}")
    return _("Inside, {distance} mm from the border.").format(distance=f"{distance:.1f}")


def previewText(
    plane: str,
    seconds: float,
    method: str,
    chosen: str,
    options: Mapping[str, Any],
    view: str,
) -> str:
    """What was previewed and in which view, and how it differs from what Apply would do.

    ``options`` are those of the fusion that is chosen.
    """
    parts = [
        _("{plane} slice in the view {view}, fused in {milliseconds} ms by {method}.").format(
            plane=plane.capitalize(),
            view=view,
            milliseconds=round(1000 * seconds),
            method=method,
        )
    ]
    if method != chosen:
        parts.append(_("{chosen} is too slow to follow; Apply will use it.").format(chosen=chosen))
    if options.get("planes") == "three":
        parts.append(_("Apply will give the mean of all three planes; this shows one of them."))
    elif plane != options.get("plane"):
        parts.append(_("Apply will fuse along the plane that is chosen under Options."))
    if options.get("grid", "reference") != "reference":
        parts.append(_("Apply will fuse on a finer grid; this is a slice of the measured one."))
    return " ".join(parts)


def deviceToolTip(torchVersion: str | None) -> str:
    """What the choice of a device means, and which PyTorch offers them."""
    meaning = _(
        "Where the fusion runs. 'Automatic' takes the GPU with most free memory, else the CPU."
    )
    if torchVersion is None:
        return meaning
    return meaning + "\n" + _("PyTorch {version}").format(version=torchVersion)
