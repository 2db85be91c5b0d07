"""What the panel's rules are about: the chosen volumes, the chosen options, the run in progress.

Plain values, without Qt and without a scene.
"""

from __future__ import annotations

from dataclasses import dataclass

from MedFusionLib.methods import DEFAULT_METHOD
from MedFusionLib.slicer_app.choices import AlignmentChoice, Colour, Grid, Plane, Planes, Refinement
from MedFusionLib.slicer_app.scene.volume_facts import VolumeFacts


@dataclass(frozen=True)
class FurtherInput:
    """One chosen volume behind the second, and how it lies to the reference (as `Inputs`)."""

    facts: VolumeFacts | None = None
    overlapKind: str | None = None
    overlapFraction: float = 0.0
    isBent: bool = False
    isChosenTwice: bool = False
    """Whether it is the reference, the other or an earlier further volume as well."""
    alignment: AlignmentChoice = AlignmentChoice.RESAMPLE
    hasTransform: bool = False
    hasFoundTransform: bool = False
    colour: Colour = Colour.AUTOMATIC
    apart: str | None = None
    looked: str | None = None


@dataclass(frozen=True)
class Inputs:
    """The chosen volumes and how they lie to each other (kinds of ``overlap.Overlap``)."""

    reference: VolumeFacts | None = None
    other: VolumeFacts | None = None
    sameVolume: bool = False
    overlapKind: str | None = None
    overlapFraction: float = 0.0
    isBent: bool = False
    """Whether a transform that bends space lies between them."""
    landmarkRefusal: str | None = None
    """Why the chosen landmarks cannot be used, as a sentence; None also where none are chosen."""
    outputIsInput: bool = False
    outputIsForeign: bool = False
    """Whether the chosen output was not made by MedFusion."""
    outputIsColour: bool | None = None
    """None for a new output volume."""
    further: tuple[FurtherInput, ...] = ()


@dataclass(frozen=True)
class Options:
    """The chosen options, as far as rules hang on them."""

    method: str = DEFAULT_METHOD
    alignment: AlignmentChoice = AlignmentChoice.RESAMPLE
    hasTransform: bool = False
    apart: str | None = None
    """A sentence where a quick look has found that the heads do not lie on each other."""
    looked: str | None = None
    """What a quick look has found, or that it is under way, where the heads are not apart."""
    bendingInstalled: bool = True
    """Whether the package of the deformable alignment is there."""
    hasFoundTransform: bool = False
    """Whether these volumes were registered, and the transform is there to be used."""
    colour: Colour = Colour.AUTOMATIC
    plane: Plane = Plane.AXIAL
    planes: Planes = Planes.ONE
    grid: Grid = Grid.REFERENCE
    refinement: Refinement = Refinement.INTERPOLATION
    force: bool = False
    torchInstalled: bool = True
    deviceWarning: str | None = None


@dataclass(frozen=True)
class JobState:
    """The run in progress. ``seconds`` since the first slice was done."""

    running: bool = False
    cancelling: bool = False
    done: int = 0
    total: int = 0
    message: str = ""
    doneAtStart: int = 0
    seconds: float = 0.0
