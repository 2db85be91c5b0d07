"""A source where the fusion laid it on the reference, to be looked at beside the fused volume."""

from __future__ import annotations

from MedFusionLib.slicer_app.scene.provenance import (
    TRANSFORM_ROLE,
    furtherTransformsOf,
    sourcesOf,
)
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.slicer_app.views.volume_copies import VolumeCopy


class AlignedOther:
    """One temporary node that shows a source's own voxels under the fusion's transform.

    The user's volume stays where it is.
    """

    def __init__(self) -> None:
        self._copy = VolumeCopy()

    def nodeFor(self, fusedNode, otherNode):
        """What to show as one of a fused volume's sources beside the reference: itself where it
        lies there already."""
        self._copy.forget()
        transformNode = laidBy(fusedNode, otherNode)
        if transformNode is None or transformNode is otherNode.GetParentTransformNode():
            return otherNode
        name = _("{name} as aligned").format(name=otherNode.GetName())
        return self._copy.show(otherNode, transformNode, name)

    def forget(self) -> None:
        """Remove the node."""
        self._copy.forget()


def laidBy(fusedNode, otherNode):
    """The transform node that laid one of a fused volume's sources on the reference, or None."""
    number = sourcesOf(fusedNode)[1:].index(otherNode)
    transforms = (fusedNode.GetNodeReference(TRANSFORM_ROLE), *furtherTransformsOf(fusedNode))
    return transforms[number]
