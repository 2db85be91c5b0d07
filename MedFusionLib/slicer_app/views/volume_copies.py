"""A volume's own voxels shown under another transform and in other colours; the volume stays."""

from __future__ import annotations

from MedFusionLib.slicer_app.scene.geometry import copyNodeGeometry


class VolumeCopy:
    """One temporary node, hidden, never saved, that costs no voxel; ``forget`` takes it away."""

    def __init__(self) -> None:
        self._node = None

    @property
    def node(self):
        """The node, or None."""
        return self._node

    def show(self, volumeNode, transformNode, name: str):
        """The node, now with the voxels of ``volumeNode`` under ``transformNode`` (or None)."""
        if self._node is not None and self._node.GetClassName() != volumeNode.GetClassName():
            self.forget()
        if self._node is None:
            self._node = self._added(volumeNode)
        node = self._node
        wasModifying = node.StartModify()
        node.SetName(name)
        copyNodeGeometry(volumeNode, node)
        node.SetAndObserveImageData(volumeNode.GetImageData())
        node.SetVoxelVectorType(volumeNode.GetVoxelVectorType())
        node.SetAndObserveTransformNodeID(transformNode.GetID() if transformNode else None)
        node.EndModify(wasModifying)
        return node

    @staticmethod
    def _added(volumeNode):
        scene = volumeNode.GetScene()
        node = scene.CreateNodeByClass(volumeNode.GetClassName())
        node.UnRegister(None)
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        node = scene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        if volumeNode.GetDisplayNode() is not None:
            node.GetDisplayNode().CopyContent(volumeNode.GetDisplayNode())
        node.GetDisplayNode().SetSaveWithScene(False)
        return node

    def forget(self) -> None:
        """Remove the node and what displays it."""
        node, self._node = self._node, None
        if node is None or node.GetScene() is None:
            return
        scene = node.GetScene()
        displays = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
        scene.RemoveNode(node)
        # Slicer's subject hierarchy takes display nodes away with their volume.
        for display in displays:
            if display is not None and scene.IsNodePresent(display):
                scene.RemoveNode(display)
