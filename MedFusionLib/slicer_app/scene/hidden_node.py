"""The maps of what a fused volume hides, and of what a finer grid invented, as volume nodes that
lie over it."""

from __future__ import annotations

import slicer

from MedFusionLib.hidden import HIDDEN_PERCENT
from MedFusionLib.refining.invented import DRAWN, DRAWN_PERCENT
from MedFusionLib.slicer_app.scene.geometry import copyNodeGeometry
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.volumes.volume import Volume

HIDDEN_ATTRIBUTE = "MedFusion.Hidden"
"""Marks a node as such a map: it is no image, and is never offered as an input."""
HIDDEN_ROLE = "MedFusion.HiddenMap"
"""The fused node's reference to its map."""
INVENTED_ROLE = "MedFusion.InventedMap"
"""The fused node's reference to the map of what was not measured, on a finer grid."""
COLOUR_NODE_ID = "vtkMRMLColorTableNodeWarm1"
BETWEEN_COLOUR, DRAWN_COLOUR = (0.0, 0.67, 0.35), (0.86, 0.0, 0.24)
"""Midway between measured slices, and where the network drew, as in a report's pictures."""
_COLOURS_ATTRIBUTE = "MedFusion.InventedColours"


def isHiddenMap(node) -> bool:
    """Whether the node is a map of what a fused volume hides or invents."""
    return node.GetAttribute(HIDDEN_ATTRIBUTE) is not None


def showHiddenMap(fusedNode, hidden: Volume):
    """The fused node's map, made or updated: per cent of the local contrast, 0 to 100.

    It lies on the fused node's grid under its parent transform. Seen is only what hides more than
    80 per cent; the rest is transparent.
    """
    name = _("{name} - what is hidden").format(name=fusedNode.GetName())
    node = _mapOver(fusedNode, HIDDEN_ROLE, name, hidden)
    _setDisplay(node, COLOUR_NODE_ID, HIDDEN_PERCENT + 1, 100)
    return node


def showInventedMap(fusedNode, invented: Volume):
    """Likewise the map of what was not measured (`refining.invented.Invented`).

    Green is the brighter the farther a voxel lies from measured ones, red where the network drew
    more than 2 per cent of the window; measured voxels are transparent.
    """
    name = _("{name} - what is invented").format(name=fusedNode.GetName())
    node = _mapOver(fusedNode, INVENTED_ROLE, name, invented)
    _setDisplay(node, _inventedColours(fusedNode.GetScene()).GetID(), 1, 2 * DRAWN)
    # Between a green and a red voxel nothing is drawn less.
    node.GetDisplayNode().InterpolateOff()
    return node


def _inventedColours(scene):
    """The colour node of such maps, one colour for each value, made once for each scene."""
    for node in slicer.util.getNodesByClass("vtkMRMLColorTableNode", scene):
        if node.GetAttribute(_COLOURS_ATTRIBUTE) is not None:
            return node
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetName("MedFusion invented")
    node.SetAttribute(_COLOURS_ATTRIBUTE, "1")
    node.SetAttribute("Category", "MedFusion")
    node.SetNumberOfColors(2 * DRAWN + 1)
    for value in range(2 * DRAWN + 1):
        share = min(value, DRAWN) / DRAWN
        isDrawn = value > DRAWN + DRAWN_PERCENT
        colour = DRAWN_COLOUR if isDrawn else tuple(share * one for one in BETWEEN_COLOUR)
        node.SetColor(value, *colour, 1.0)
    node.GetLookupTable().SetTableRange(0, 2 * DRAWN)
    return scene.AddNode(node)


def _mapOver(fusedNode, role: str, name: str, values: Volume):
    """The fused node's map of this role with new values, made where there is none."""
    node = fusedNode.GetNodeReference(role)
    if node is None:
        node = fusedNode.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.SetAttribute(HIDDEN_ATTRIBUTE, fusedNode.GetID())
        fusedNode.SetNodeReferenceID(role, node.GetID())
    slicer.util.updateVolumeFromArray(node, values.voxels)
    copyNodeGeometry(fusedNode, node)
    node.SetAndObserveTransformNodeID(fusedNode.GetTransformNodeID())
    return node


def forgetMaps(fusedNode) -> None:
    """Remove the maps of a fused node whose voxels are others now."""
    for role in (HIDDEN_ROLE, INVENTED_ROLE):
        node = fusedNode.GetNodeReference(role)
        if node is not None:
            node.GetScene().RemoveNode(node)


def _setDisplay(node, coloursId: str, lowest: float, highest: float) -> None:
    """Colours from 0 to the highest value; what is below the lowest is transparent."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(coloursId)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, highest)
    display.AutoThresholdOff()
    display.SetThreshold(lowest, highest)
    display.ApplyThresholdOn()
