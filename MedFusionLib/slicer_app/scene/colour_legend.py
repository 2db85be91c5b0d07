"""The colours of a fused node: their map as a colour node, and a legend in the views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import slicer

from MedFusionLib.slicer_app.translation import _
from MedFusionLib.slices.colour import apply_colour_map
from MedFusionLib.slices.legend import TICKS, Legend, legends_of

LEGEND_CLASS = "vtkMRMLColorLegendDisplayNode"
SCALE_ROLE = "MedFusion.UptakeScale"
_MAP_ATTRIBUTE = "MedFusion.ColourMap"
_COLOURS = 256
_SIZE, _PLACE = (0.07, 0.4), (0.97, 0.5)
"""Share of the view that the legend takes, and where it is: upright at the right edge.

Its letters are as large as its width allows; wider, they lie over the head."""
_SIZE_OF_TWO, _PLACES = (0.07, 0.31), ((0.97, 0.84), (0.97, 0.25))
"""Of two legends, one above the other: each has room for its title above it, and the lower right
corner for its text."""


def uptakeColours(scene, colourMap: str):
    """The colour node of one of MedFusion's maps, made once for each scene.

    It is offered wherever Slicer offers colours, so that the functional volume can have those of
    the fused one.
    """
    known = scene.GetNodesByClass("vtkMRMLColorTableNode")
    known.UnRegister(None)
    for index in range(known.GetNumberOfItems()):
        node = known.GetItemAsObject(index)
        if node.GetAttribute(_MAP_ATTRIBUTE) == colourMap:
            return node
    return _addColours(scene, colourMap)


def _addColours(scene, colourMap: str):
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetName(f"MedFusion {colourMap}")
    node.SetAttribute(_MAP_ATTRIBUTE, colourMap)
    node.SetAttribute("Category", "MedFusion")
    node.SetNumberOfColors(_COLOURS)
    shades = apply_colour_map(np.linspace(0, 1, _COLOURS, dtype=np.float32), colourMap).tolist()
    for index, colour in enumerate(shades):
        node.SetColor(index, *colour, 1.0)
    node.GetLookupTable().SetTableRange(0, _COLOURS - 1)
    return scene.AddNode(node)


def showLegend(fusedNode, report: Mapping[str, Any]) -> None:
    """Show the uptake that the fused node's colours stand for beside it in the views.

    A legend of an earlier fusion into the node is updated, and goes where the new colours have no
    scale; of two functional volumes each has its own, the first one above. Does nothing where
    Slicer has no legends.
    """
    legends = legends_of(report) if "colour" in report else []
    if len(legends) > 1:
        legends = [replace(one, unit=f"{one.modality} {one.unit}".strip()) for one in legends]
    showScales(fusedNode, legends)


def showScale(volumeNode, legend: Legend | None) -> None:
    """Show a scale of colours beside a volume in the views, or none any more."""
    showScales(volumeNode, [] if legend is None else [legend])


def showScales(volumeNode, legends: Sequence[Legend]) -> None:
    """Show so many scales of colours beside a volume, one above the other, and no others."""
    for number in reversed(range(len(legends), len(_displayNodes(volumeNode, _isScale)))):
        _removeLegend(volumeNode, number)
    size, places = (_SIZE, (_PLACE,)) if len(legends) < 2 else (_SIZE_OF_TWO, _PLACES)
    for number, (legend, place) in enumerate(zip(legends, places, strict=False)):
        bar = legendOf(volumeNode, number) or _newBar(volumeNode.GetScene())
        if bar is not None:
            _showScale(volumeNode, legend, number)
            _showBar(volumeNode, legend, bar, number)
            bar.SetSize(*size)
            bar.SetPosition(*place)


def renewLegends(compositeNode) -> None:
    """Let the legends see anew which volumes a slice view shows.

    Slicer's views look, and make legends for a view that is newer than they are, only where a user
    has chosen a layer, which the flags of the view's node tell; not where code has.
    """
    before = compositeNode.GetInteractionFlags()
    chosen = compositeNode.BackgroundVolumeFlag | compositeNode.ForegroundVolumeFlag
    compositeNode.SetInteractionFlags(before | chosen)
    compositeNode.Modified()
    compositeNode.SetInteractionFlags(before)


def legendOf(fusedNode, number: int = 0):
    """The display node of a fused node's first legend, or of the one of this number; or None."""
    return _nth(_displayNodes(fusedNode, lambda node: node.IsA(LEGEND_CLASS)), number)


def scaleOf(fusedNode, number: int = 0):
    """The display node that holds the scale of a fused node's legend, or None.

    A legend takes colours and range from a display node. The fused node's own one has the window
    that keeps RGB values as they are, so the scale has one for itself, behind it: views show a
    volume by its first.
    """
    return _nth(_displayNodes(fusedNode, _isScale), number)


def _isScale(node) -> bool:
    return node.GetAttribute(SCALE_ROLE) is not None


def _displayNodes(fusedNode, isWanted) -> list:
    nodes = (fusedNode.GetNthDisplayNode(n) for n in range(fusedNode.GetNumberOfDisplayNodes()))
    return [node for node in nodes if node is not None and isWanted(node)]


def _nth(nodes: Sequence, number: int):
    return nodes[number] if number < len(nodes) else None


def _showScale(fusedNode, legend: Legend, number: int) -> None:
    node = scaleOf(fusedNode, number)
    if node is None:
        node = slicer.vtkMRMLScalarVolumeDisplayNode()
        node.SetName(_("{fused} uptake").format(fused=fusedNode.GetName()))
        node.SetAttribute(SCALE_ROLE, "1")
        node.SetHideFromEditors(True)
        node.AutoWindowLevelOff()
        fusedNode.GetScene().AddNode(node)
        fusedNode.AddAndObserveDisplayNodeID(node.GetID())
    node.SetAndObserveColorNodeID(uptakeColours(fusedNode.GetScene(), legend.colour_map).GetID())
    node.SetWindowLevelMinMax(legend.low, legend.high)


def _newBar(scene):
    """A legend's display node; None where Slicer has no legends.

    The module Colors makes the class known to the scene, and not always to Python.
    """
    if hasattr(slicer, LEGEND_CLASS):
        return slicer.vtkMRMLColorLegendDisplayNode()
    node = scene.CreateNodeByClass(LEGEND_CLASS)
    if node is not None:
        node.UnRegister(None)
    return node


def _showBar(fusedNode, legend: Legend, node, number: int) -> None:
    if node.GetScene() is None:
        node.SetName(_("{fused} legend").format(fused=fusedNode.GetName()))
        node.SetNumberOfLabels(TICKS)
        node.SetMaxNumberOfColors(_COLOURS)
        fusedNode.GetScene().AddNode(node)
        fusedNode.AddAndObserveDisplayNodeID(node.GetID())
    scale = scaleOf(fusedNode, number)
    node.SetAndObservePrimaryDisplayNode(scale)
    node.SetAndObserveColorNodeID(scale.GetColorNodeID())
    node.SetTitleText(legend.unit)
    node.SetLabelFormat("%.0f" if legend.high - legend.low >= 100 else "%.3g")


def _removeLegend(fusedNode, number: int) -> None:
    for node in (legendOf(fusedNode, number), scaleOf(fusedNode, number)):
        if node is not None:
            fusedNode.GetScene().RemoveNode(node)
