"""The map of what a fused volume hides, as a volume node that lies over it."""

from __future__ import annotations

import slicer

from MedFusionLib.hidden import HIDDEN_PERCENT
from MedFusionLib.slicer_app.scene.geometry import copyNodeGeometry
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.volumes.volume import Volume

HIDDEN_ATTRIBUTE = "MedFusion.Hidden"
"""Marks a node as such a map: it is no image, and is never offered as an input."""
HIDDEN_ROLE = "MedFusion.HiddenMap"
"""The fused node's reference to its map."""
COLOUR_NODE_ID = "vtkMRMLColorTableNodeWarm1"


def isHiddenMap(node) -> bool:
    """Whether the node is a map of what a fused volume hides."""
    return node.GetAttribute(HIDDEN_ATTRIBUTE) is not None


def showHiddenMap(fusedNode, hidden: Volume):
    """The fused node's map, made or updated: per cent of the local contrast, 0 to 100.

    It lies on the fused node's grid under its parent transform. Seen is only what hides more than
    80 per cent; the rest is transparent.
    """
    node = fusedNode.GetNodeReference(HIDDEN_ROLE)
    if node is None:
        name = _("{name} - what is hidden").format(name=fusedNode.GetName())
        node = fusedNode.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.SetAttribute(HIDDEN_ATTRIBUTE, fusedNode.GetID())
        fusedNode.SetNodeReferenceID(HIDDEN_ROLE, node.GetID())
    slicer.util.updateVolumeFromArray(node, hidden.voxels)
    copyNodeGeometry(fusedNode, node)
    node.SetAndObserveTransformNodeID(fusedNode.GetTransformNodeID())
    _setDisplay(node)
    return node


def forgetHiddenMap(fusedNode) -> None:
    """Remove the map of a fused node whose voxels are others now."""
    node = fusedNode.GetNodeReference(HIDDEN_ROLE)
    if node is not None:
        node.GetScene().RemoveNode(node)


def _setDisplay(node) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(COLOUR_NODE_ID)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, 100)
    display.AutoThresholdOff()
    display.SetThreshold(HIDDEN_PERCENT + 1, 100)
    display.ApplyThresholdOn()
