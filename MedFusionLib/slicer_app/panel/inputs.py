"""From the parameter node and the nodes it names to plain values: what is chosen, what to fuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import slicer

from MedFusionLib.slicer_app.choices import AlignmentChoice
from MedFusionLib.slicer_app.panel.facts import FurtherInput, Inputs, Options
from MedFusionLib.slicer_app.panel.further_choice import (
    FurtherChoice,
    chosenSources,
    furtherChoices,
)
from MedFusionLib.slicer_app.panel.grid_rules import usedPlanes, usedRefinement
from MedFusionLib.slicer_app.running.fusion_job import FusionRequest
from MedFusionLib.slicer_app.running.torch_setup import bendingInstalled, torchInstalled
from MedFusionLib.slicer_app.scene.further_sources import FurtherSource
from MedFusionLib.slicer_app.scene.landmark_nodes import landmarkRefusal
from MedFusionLib.slicer_app.scene.provenance import isFused
from MedFusionLib.slicer_app.scene.scene_facts import isBentBetween, isColour, relation, volumeFacts


class ChosenInputs:
    """What the rules have to know of the chosen volumes, worked out only when one has changed."""

    def __init__(self) -> None:
        self._further: list[_OneFurther] = []
        self._relation = _Remembered(relation)
        self._referenceFacts = _Remembered(volumeFacts)
        self._otherFacts = _Remembered(volumeFacts)
        self._isBent = _Remembered(isBentBetween)

    def __call__(
        self,
        parameters,
        looked: Sequence[tuple[str | None, str | None]] = (),
        registered: Sequence[Any] = (),
    ) -> Inputs:
        """The inputs that the parameter node names now.

        Of each further volume ``looked`` has the sentences of `FurtherSection.found`, and
        ``registered`` the transform of an earlier registration, or None.
        """
        reference, other = parameters.referenceVolume, parameters.otherVolume
        output = parameters.outputVolume
        found = self._relation(reference, other, chosenTransform(parameters))
        return Inputs(
            reference=self._referenceFacts(reference, parameters.referenceModality.value),
            other=self._otherFacts(other, parameters.otherModality.value),
            sameVolume=reference is not None and reference is other,
            overlapKind=found.kind if found else None,
            overlapFraction=found.fraction if found else 0.0,
            isBent=self._isBent(reference, other),
            landmarkRefusal=landmarkRefusal(reference, other, chosenLandmarks(parameters)),
            outputIsInput=output is not None and output in chosenSources(parameters),
            outputIsForeign=output is not None and not isFused(output),
            outputIsColour=None if output is None else isColour(output),
            further=self._furtherInputs(parameters, looked, registered),
        )

    def _furtherInputs(self, parameters, looked, registered) -> tuple[FurtherInput, ...]:
        choices = furtherChoices(parameters)
        if not choices:
            return ()
        while len(self._further) < len(choices):
            self._further.append(_OneFurther())
        left, inputs = list(registered), []
        for number, choice in enumerate(choices):
            isFound = choice.volume is not None and bool(left) and left.pop(0) is not None
            facts = self._further[number](parameters.referenceVolume, choice)
            before = [one.volume for one in choices[:number]]
            known = (parameters.referenceVolume, parameters.otherVolume, *before)
            apart, told = looked[number] if number < len(looked) else (None, None)
            inputs.append(
                replace(
                    facts,
                    isChosenTwice=choice.volume is not None and choice.volume in known,
                    hasFoundTransform=isFound,
                    apart=apart,
                    looked=told,
                )
            )
        return tuple(inputs)


class _OneFurther:
    """What the rules have to know of one further volume by itself."""

    def __init__(self) -> None:
        self._relation = _Remembered(relation)
        self._facts = _Remembered(volumeFacts)
        self._isBent = _Remembered(isBentBetween)

    def __call__(self, reference, choice: FurtherChoice) -> FurtherInput:
        found = self._relation(reference, choice.volume, choice.usedTransform)
        return FurtherInput(
            facts=self._facts(choice.volume, choice.modality.value),
            overlapKind=found.kind if found else None,
            overlapFraction=found.fraction if found else 0.0,
            isBent=self._isBent(reference, choice.volume),
            alignment=choice.alignment,
            hasTransform=choice.transform is not None,
            colour=choice.colour,
        )


def chosenOptions(
    parameters,
    deviceWarning: str | None,
    hasFoundTransform: bool,
    apart: str | None,
    looked: str | None,
) -> Options:
    """The chosen options, as far as rules hang on them."""
    return Options(
        method=parameters.method,
        alignment=parameters.alignment,
        hasTransform=parameters.alignmentTransform is not None,
        hasFoundTransform=hasFoundTransform,
        apart=apart,
        looked=looked,
        bendingInstalled=bendingInstalled(),
        colour=parameters.colour,
        plane=parameters.plane,
        planes=parameters.planes,
        grid=parameters.grid,
        refinement=parameters.refinement,
        force=parameters.force,
        torchInstalled=torchInstalled(),
        deviceWarning=deviceWarning,
    )


def chosenTransform(parameters):
    """The transform node that lays the other volume on the reference, where one is asked for."""
    chosen = parameters.alignment is AlignmentChoice.TRANSFORM
    return parameters.alignmentTransform if chosen else None


def chosenLandmarks(parameters) -> tuple:
    """The markups nodes with points on the reference and on the other; None for what is not."""
    return parameters.referenceLandmarks, parameters.otherLandmarks


def chosenPlaces(parameters) -> tuple:
    """What tells whether the volumes lie as they did, voxels, modalities and transform included."""
    nodes = (parameters.referenceVolume, parameters.otherVolume, chosenTransform(parameters))
    modalities = (parameters.referenceModality, parameters.otherModality)
    return (*(_state(node) for node in nodes), *modalities)


def furtherPlaces(parameters, choice: FurtherChoice) -> tuple | None:
    """`chosenPlaces` for one further volume; None where it is not chosen."""
    if choice.volume is None or parameters.referenceVolume is None:
        return None
    nodes = (parameters.referenceVolume, choice.volume, choice.usedTransform)
    modalities = (parameters.referenceModality, choice.modality)
    return (*(_state(node) for node in nodes), *modalities)


def pairRequest(parameters, choice: FurtherChoice) -> FusionRequest:
    """The reference with one further volume alone, to be looked at."""
    return FusionRequest(
        referenceNode=parameters.referenceVolume,
        otherNode=choice.volume,
        transformNode=choice.usedTransform,
        modalities=(parameters.referenceModality.value, choice.modality.value),
    )


def chosenRequest(parameters) -> FusionRequest:
    """The fusion that is chosen."""
    options = {
        "device": parameters.device,
        "plane": parameters.plane.value,
        "planes": usedPlanes(parameters.method, parameters.planes).value,
        "grid": parameters.grid.value,
        "refinement": usedRefinement(parameters.grid, parameters.refinement).value,
        "colour": parameters.colour.value,
        "precision": parameters.precision,
        "batch_size": parameters.batchSize or None,
        "allow_nonfinite": parameters.allowNonfinite,
        "force": parameters.force,
    }
    return FusionRequest(
        referenceNode=parameters.referenceVolume,
        otherNode=parameters.otherVolume,
        outputNode=parameters.outputVolume,
        method=parameters.method,
        alignment=_alignmentOf(parameters.alignment),
        transformNode=chosenTransform(parameters),
        landmarkNodes=chosenLandmarks(parameters),
        modalities=(parameters.referenceModality.value, parameters.otherModality.value),
        windows=(parameters.referenceWindow.value, parameters.otherWindow.value),
        options=options,
        further=tuple(
            FurtherSource(
                node=one.volume,
                modality=one.modality.value,
                window=one.window.value,
                alignment=_alignmentOf(one.alignment),
                transformNode=one.usedTransform,
                colour=one.colour.value,
            )
            for one in furtherChoices(parameters)
            if one.volume is not None
        ),
    )


def _alignmentOf(choice: AlignmentChoice) -> str:
    """For a run: by an existing transform, a volume is resampled where it lies."""
    return "resample" if choice is AlignmentChoice.TRANSFORM else choice.value


class _Remembered:
    """A function of nodes and plain values, computed again only when one of them has changed."""

    def __init__(self, function: Callable) -> None:
        self._function = function
        self._key: object = None
        self._value: Any = None

    def __call__(self, *arguments):
        key = tuple(_state(argument) for argument in arguments)
        if key != self._key:
            self._key, self._value = key, self._function(*arguments)
        return self._value


def _state(argument):
    """What tells whether a node, its image or its place in the world has changed."""
    if not isinstance(argument, slicer.vtkMRMLTransformableNode):
        return argument
    times = [argument.GetMTime()]
    if argument.IsA("vtkMRMLVolumeNode") and argument.GetImageData() is not None:
        times.append(argument.GetImageData().GetMTime())
    node = argument
    while (node := node.GetParentTransformNode()) is not None:
        times.append(node.GetTransformToWorldMTime())
    if argument.IsA("vtkMRMLTransformNode"):
        times.append(argument.GetTransformToWorldMTime())
    return (argument.GetID(), *times)
