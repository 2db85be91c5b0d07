"""What the user has chosen for the volumes behind the second, kept in the parameter node."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from MedFusionLib.slicer_app.choices import AlignmentChoice, Colour, Modality, Window


@dataclass(frozen=True)
class FurtherChoice:
    """One further volume (a node or None) and how it is laid on the reference and shown."""

    volume: Any = None
    modality: Modality = Modality.AUTOMATIC
    window: Window = Window.AUTOMATIC
    alignment: AlignmentChoice = AlignmentChoice.RESAMPLE
    transform: Any = None
    """Takes the volume to the reference; used by `AlignmentChoice.TRANSFORM`."""
    colour: Colour = Colour.AUTOMATIC

    @property
    def usedTransform(self):
        """The transform node that lays the volume on the reference, where one is asked for."""
        return self.transform if self.alignment is AlignmentChoice.TRANSFORM else None


def furtherChoices(parameters) -> tuple[FurtherChoice, ...]:
    """The choices that the parameter node holds, in their order."""
    return tuple(
        FurtherChoice(
            one.volume, one.modality, one.window, one.alignment, one.transform, one.colour
        )
        for one in parameters.furtherVolumes
    )


def chooseFurther(parameters, choices: Iterable[FurtherChoice]) -> None:
    """Keep these choices in place of those of before."""
    chosen = tuple(choices)
    if chosen != furtherChoices(parameters):
        parameters.furtherVolumes = [parameters.furtherVolume(**vars(one)) for one in chosen]


def chosenSources(parameters) -> tuple:
    """The nodes of all chosen volumes: reference, other (None for what is not chosen) and further
    ones, as `provenance.sourcesOf` names those of a fused volume."""
    further = (one.volume for one in parameters.furtherVolumes)
    chosen = (node for node in further if node is not None)
    return (parameters.referenceVolume, parameters.otherVolume, *chosen)


def usedTransforms(parameters) -> tuple:
    """The transform nodes that lay further volumes on the reference."""
    used = (one.usedTransform for one in furtherChoices(parameters))
    return tuple(node for node in used if node is not None)
