"""What the user has chosen in the panel, kept in the scene and bound to the widgets by name."""

from __future__ import annotations

from typing import Annotated

from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLMarkupsLineNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLTransformNode,
)
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

from MedFusionLib.methods import DEFAULT_METHOD, method_names
from MedFusionLib.slicer_app.choices import (
    AlignmentChoice,
    Colour,
    Grid,
    Modality,
    Plane,
    Planes,
    Refinement,
    Window,
)
from MedFusionLib.slicer_app.panel.further_pack import FurtherVolume


@parameterNodeWrapper
class MedFusionParameterNode:
    """The panel's choices.

    referenceVolume, otherVolume - the two volumes to fuse; the other may be a color volume.
    referenceModality, otherModality - what they are, or found out.
    referenceWindow, otherWindow - which stored values become black and white.
    alignment - how the other volume comes onto the reference.
    alignmentTransform - takes the other volume to the reference; used by AlignmentChoice.TRANSFORM.
    referenceLandmarks, otherLandmarks - points placed on both volumes where each is shown, pair by
    pair: where a registration starts, and a check of every alignment.
    method, device, plane, colour, precision, batchSize - how it is fused; batchSize 0 is automatic.
    planes, grid, refinement - along how many planes, on which grid, and what fills a finer one.
    allowNonfinite, force, score - see MedFusionLib.fusion.fuse; score measures the result.
    furtherVolumes - the volumes behind the other one, each with choices of its own.
    outputVolume - the fused volume, updated in place.
    otherOpacity, blendOpacity - of the other and of the fused volume as layers of a blend.
    inputsWereDeleted - after that, nobody but the user chooses volumes.
    pointerTransform - the pointer that the slice views follow.
    targetPoint, trajectoryLine - where the pointer is to go; told beside its tip.
    """

    referenceVolume: vtkMRMLScalarVolumeNode
    otherVolume: vtkMRMLScalarVolumeNode
    referenceModality: Modality = Modality.AUTOMATIC
    otherModality: Modality = Modality.AUTOMATIC
    referenceWindow: Window = Window.AUTOMATIC
    otherWindow: Window = Window.AUTOMATIC
    alignment: AlignmentChoice = AlignmentChoice.RESAMPLE
    alignmentTransform: vtkMRMLTransformNode
    referenceLandmarks: vtkMRMLMarkupsFiducialNode
    otherLandmarks: vtkMRMLMarkupsFiducialNode
    method: Annotated[str, Choice(list(method_names()))] = DEFAULT_METHOD
    device: str = "auto"
    plane: Plane = Plane.AXIAL
    planes: Planes = Planes.ONE
    grid: Grid = Grid.REFERENCE
    refinement: Refinement = Refinement.INTERPOLATION
    colour: Colour = Colour.AUTOMATIC
    precision: Annotated[str, Choice(["auto", "float32", "bfloat16", "float16"])] = "auto"
    batchSize: Annotated[int, WithinRange(0, 256)] = 0
    allowNonfinite: bool = False
    force: bool = False
    score: bool = True
    furtherVolumes: list[FurtherVolume]
    outputVolume: vtkMRMLScalarVolumeNode
    otherOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    blendOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    pointerTransform: vtkMRMLTransformNode
    targetPoint: vtkMRMLMarkupsFiducialNode
    trajectoryLine: vtkMRMLMarkupsLineNode
    inputsWereDeleted: bool = False

    furtherVolume = staticmethod(FurtherVolume)
    """Makes an entry of ``furtherVolumes``."""
