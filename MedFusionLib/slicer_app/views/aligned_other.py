"""The other volume where the fusion laid it, to be looked at beside the fused volume."""

from __future__ import annotations

from MedFusionLib.slicer_app.scene.geometry import copyNodeGeometry
from MedFusionLib.slicer_app.scene.provenance import TRANSFORM_ROLE, sourcesOf
from MedFusionLib.slicer_app.translation import _


class AlignedOther:
    """One temporary node that shows the other volume's own voxels under the fusion's transform.

    The user's volume stays where it is. The node is hidden, never saved, and costs no voxel.
    """

    def __init__(self) -> None:
        self._node = None

    def nodeFor(self, fusedNode):
        """What to show as the other volume of a fused one: itself where it lies there already."""
        self.forget()
        otherNode = sourcesOf(fusedNode)[1]
        transformNode = fusedNode.GetNodeReference(TRANSFORM_ROLE)
        if transformNode is None or transformNode is otherNode.GetParentTransformNode():
            return otherNode
        scene = otherNode.GetScene()
        node = scene.CreateNodeByClass(otherNode.GetClassName())
        node.UnRegister(None)
        node.SetName(_("{name} as aligned").format(name=otherNode.GetName()))
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        self._node = scene.AddNode(node)
        self._fill(otherNode, transformNode)
        return self._node

    def _fill(self, otherNode, transformNode) -> None:
        node = self._node
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().CopyContent(otherNode.GetDisplayNode())
        node.GetDisplayNode().SetSaveWithScene(False)
        copyNodeGeometry(otherNode, node)
        node.SetAndObserveImageData(otherNode.GetImageData())
        node.SetVoxelVectorType(otherNode.GetVoxelVectorType())
        node.SetAndObserveTransformNodeID(transformNode.GetID())

    def forget(self) -> None:
        """Remove the node."""
        node, self._node = self._node, None
        if node is None or node.GetScene() is None:
            return
        scene, displayNode = node.GetScene(), node.GetDisplayNode()
        scene.RemoveNode(node)
        # Slicer's subject hierarchy takes the display node away with its volume.
        if displayNode is not None and scene.IsNodePresent(displayNode):
            scene.RemoveNode(displayNode)
