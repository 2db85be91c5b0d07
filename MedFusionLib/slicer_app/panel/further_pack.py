"""One further volume as Slicer's parameter node keeps it."""

from __future__ import annotations

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLTransformNode
from slicer.parameterNodeWrapper import parameterPack

from MedFusionLib.slicer_app.choices import AlignmentChoice, Colour, Modality, Window


@parameterPack
class FurtherVolume:
    """The fields of `further_choice.FurtherChoice`."""

    volume: vtkMRMLScalarVolumeNode
    modality: Modality = Modality.AUTOMATIC
    window: Window = Window.AUTOMATIC
    alignment: AlignmentChoice = AlignmentChoice.RESAMPLE
    transform: vtkMRMLTransformNode
    colour: Colour = Colour.AUTOMATIC
