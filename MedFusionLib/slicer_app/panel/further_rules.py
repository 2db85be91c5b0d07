"""The rules for further volumes: each lies to the reference as the other volume does.

Pure functions of plain values, without Qt and without a scene.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from MedFusionLib.errors import InputError
from MedFusionLib.methods import METHODS, refuse_too_many
from MedFusionLib.slicer_app.choices import AlignmentChoice, Colour
from MedFusionLib.slicer_app.panel.facts import FurtherInput, Inputs, Options
from MedFusionLib.slicer_app.panel.pair_rules import (
    REGISTERING,
    pairWarnings,
    whatAlignmentLacks,
)
from MedFusionLib.slicer_app.panel.texts import factsText, placeText, relationText
from MedFusionLib.slicer_app.scene.sentences import sameVolumeText
from MedFusionLib.slicer_app.scene.volume_facts import VolumeFacts
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.slices.painting import FUNCTIONAL, choose_colour_maps


def whatFurtherLack(inputs: Inputs, options: Options) -> str | None:
    """Why the further volumes cannot be fused as they are chosen; None if they can."""
    for number, one in enumerate(inputs.further):
        sentence = _whatItLacks(one, inputs, options)
        if sentence is not None:
            return _of(number, sentence)
    if not inputs.further:
        return None
    return _whatTheMethodLacks(inputs, options) or _whatColoursLack(inputs, options)


def _whatTheMethodLacks(inputs: Inputs, options: Options) -> str | None:
    """That the method takes fewer volumes, in the library's own words; None if it takes them."""
    try:
        if options.method in METHODS:
            refuse_too_many(METHODS[options.method], 2 + len(inputs.further))
    except InputError as error:
        return str(error)
    return None


def _whatItLacks(one: FurtherInput, inputs: Inputs, options: Options) -> str | None:
    if one.facts is None:
        return _("Choose the volume, or remove it from the further volumes.")
    if one.facts.refusal is not None:
        return one.facts.refusal
    if one.isChosenTwice:
        return sameVolumeText(one.facts.name)
    if one.alignment is AlignmentChoice.TRANSFORM and not one.hasTransform:
        return _("Choose the transform that takes it to the reference.")
    return whatAlignmentLacks(*_asOther(one, inputs, options))


def _asOther(one: FurtherInput, inputs: Inputs, options: Options) -> tuple[Inputs, Options]:
    """The rules' view of the reference with one further volume in the place of the other one."""
    return (
        replace(
            inputs,
            other=one.facts,
            overlapKind=one.overlapKind,
            overlapFraction=one.overlapFraction,
            isBent=one.isBent,
            landmarkRefusal=None,
            further=(),
        ),
        replace(
            options,
            alignment=one.alignment,
            hasTransform=one.hasTransform,
            apart=one.apart,
            looked=one.looked,
        ),
    )


def _whatColoursLack(inputs: Inputs, options: Options) -> str | None:
    """The library's own sentence where colours could not be told apart."""
    chosen = [(inputs.other, options.colour), *((one.facts, one.colour) for one in inputs.further)]
    shown: list[Any] = [
        SimpleNamespace(is_colour=facts.isColour, modality=facts.modality)
        for facts, _colour in chosen
        if facts is not None
    ]
    try:
        choose_colour_maps(shown, [colour.value for _facts, colour in chosen])
    except InputError as error:
        return str(error)
    return None


def isShownInColour(facts: VolumeFacts | None, colour: Colour) -> bool:
    """Whether a volume is shown in color in the fused one."""
    if colour is not Colour.AUTOMATIC:
        return colour is not Colour.GREY
    return facts is not None and (facts.isColour or facts.modality in FUNCTIONAL)


def whatKeepsFurtherPreview(inputs: Inputs) -> str | None:
    """Why no slice can be previewed although the volumes could be fused."""
    for number, one in enumerate(inputs.further):
        if one.alignment in REGISTERING and one.hasFoundTransform:
            return _("Press 'Use this transform from now on' under Result to see slices with it.")
        if one.alignment in REGISTERING:
            return _of(number, _("Register first: press Apply, or choose a transform."))
    return None


def furtherTexts(inputs: Inputs) -> tuple[str, ...]:
    """What each further volume is, and how it lies to the reference."""
    told = (
        (factsText(one.facts), relationText(_asOther(one, inputs, Options())[0], one.looked))
        for one in inputs.further
    )
    return tuple("\n".join(text for text in texts if text) for texts in told)


def furtherNames(inputs: Inputs) -> list[tuple[str, VolumeFacts]]:
    """The further volumes that are chosen, by what they are called."""
    return [
        (placeText(number), one.facts)
        for number, one in enumerate(inputs.further)
        if one.facts is not None
    ]


def furtherWarnings(inputs: Inputs, options: Options) -> list[str]:
    """What a user should know of the further volumes although they may be fused."""
    return [
        _of(number, sentence)
        for number, one in enumerate(inputs.further)
        for sentence in pairWarnings(*_asOther(one, inputs, options))
    ]


def _of(number: int, sentence: str) -> str:
    return f"{placeText(number)}: {sentence}"
