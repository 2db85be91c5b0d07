"""The fused volume itself in the 3D view, through Slicer's module Volume Rendering."""

from __future__ import annotations

import slicer
import vtk

from MedFusionLib.slicer_app.scene.mrml import COLOUR_WINDOW_LEVEL, SCALAR_WINDOW_LEVEL
from MedFusionLib.slicer_app.scene.scene_facts import isColour

OPACITIES = ((0.0, 0.0), (0.15, 0.0), (0.5, 0.12), (1.0, 0.6))
"""Share of the largest value, and how opaque it is: air is clear, bright structures are seen."""


def volumeRenderingLogic():
    """The logic of Slicer's module Volume Rendering, or None where it is missing."""
    module = getattr(getattr(slicer, "modules", None), "volumerendering", None)
    return module.logic() if module else None


class VolumeIn3D:
    """Shows one volume at a time in the 3D view, or none; does nothing without the module.

    ``show(None)`` hides what is shown. How a volume looks is set when it is shown for the first
    time, so that what the user has changed in the module Volume Rendering stays.
    """

    def __init__(self) -> None:
        self._volumeNode = None
        self._displayNode = None

    def show(self, volumeNode) -> None:
        """Show a fused volume in place of the one before."""
        if volumeNode is self._volumeNode:
            return
        self._volumeNode = volumeNode
        if self._displayNode is not None:
            self._displayNode.SetVisibility(False)
            self._displayNode = None
        logic = volumeRenderingLogic()
        if volumeNode is None or logic is None or volumeNode.GetImageData() is None:
            return
        displayNode = logic.GetFirstVolumeRenderingDisplayNode(volumeNode)
        if displayNode is None:
            displayNode = logic.CreateDefaultVolumeRenderingNodes(volumeNode)
            makeTranslucent(displayNode.GetVolumePropertyNode(), isColour(volumeNode))
        displayNode.SetVisibility(True)
        self._displayNode = displayNode

    def forget(self) -> None:
        """The scene is gone, and the nodes with it."""
        self._volumeNode = self._displayNode = None


def makeTranslucent(propertyNode, inColour: bool) -> None:
    """Let a fused volume be seen through, in grey or in its own colours.

    Slicer's own presets are made for Hounsfield units or a scanner's values, which a fused volume
    does not hold. A volume in colour is as opaque as it is bright.
    """
    largest = COLOUR_WINDOW_LEVEL[0] if inColour else SCALAR_WINDOW_LEVEL[0]
    opacity = vtk.vtkPiecewiseFunction()
    for share, opaque in OPACITIES:
        opacity.AddPoint(share * largest, opaque)
    grey = vtk.vtkColorTransferFunction()
    grey.AddRGBPoint(0.0, 0.0, 0.0, 0.0)
    grey.AddRGBPoint(largest, 1.0, 1.0, 1.0)
    propertyNode.SetScalarOpacity(opacity)
    propertyNode.SetColor(grey)
