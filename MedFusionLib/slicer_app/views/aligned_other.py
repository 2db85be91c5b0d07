"""The other volume where the fusion laid it, to be looked at beside the fused volume."""

from __future__ import annotations

from MedFusionLib.slicer_app.scene.provenance import TRANSFORM_ROLE, pairOf
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.slicer_app.views.volume_copies import VolumeCopy


class AlignedOther:
    """One temporary node that shows the other volume's own voxels under the fusion's transform.

    The user's volume stays where it is.
    """

    def __init__(self) -> None:
        self._copy = VolumeCopy()

    def nodeFor(self, fusedNode):
        """What to show as the other volume of a fused one: itself where it lies there already."""
        self._copy.forget()
        otherNode = pairOf(fusedNode)[1]
        transformNode = fusedNode.GetNodeReference(TRANSFORM_ROLE)
        if transformNode is None or transformNode is otherNode.GetParentTransformNode():
            return otherNode
        name = _("{name} as aligned").format(name=otherNode.GetName())
        return self._copy.show(otherNode, transformNode, name)

    def forget(self) -> None:
        """Remove the node."""
        self._copy.forget()
