"""Points that a user has placed on two volumes of a scene, pair by pair.

They are kept in the world, where the volumes are shown, and are handed over in the own space of
each volume (LPS, mm, without parent transforms), as volumes are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from MedFusionLib.errors import GeometryError, InputError
from MedFusionLib.slicer_app.scene.transforms import fromWorld
from MedFusionLib.slicer_app.translation import _

COLOURS = ((0.20, 0.85, 0.95), (1.00, 0.65, 0.10))
"""Of the points on the reference and of those on the other volume."""

Nodes = tuple[Any, Any]


def placedPoints(markupsNode) -> list[tuple[str, np.ndarray]]:
    """Label and place in the world (RAS, mm) of each point that the user has put somewhere."""
    found = []
    for n in range(markupsNode.GetNumberOfControlPoints()):
        if (
            markupsNode.GetNthControlPointPositionStatus(n)
            == slicer.vtkMRMLMarkupsNode.PositionDefined
        ):
            point = [0.0, 0.0, 0.0]
            markupsNode.GetNthControlPointPositionWorld(n, point)
            found.append((markupsNode.GetNthControlPointLabel(n), np.array(point)))
    return found


def landmarkMessage(referenceNode, otherNode, nodes: Nodes) -> dict[str, Any] | None:
    """The points of both volumes as the worker is told of them; None where no list is chosen.

    Each point lies where its volume is shown now. Raises ``InputError`` where one list is missing
    or has left the scene, ``GeometryError`` where a parent transform of a volume has no inverse.
    """
    if nodes == (None, None):
        return None
    _refuseMissing(nodes)
    return {
        "reference": _pointsOn(referenceNode, nodes[0]),
        "other": _pointsOn(otherNode, nodes[1]),
    }


def landmarkRefusal(referenceNode, otherNode, nodes: Nodes) -> str | None:
    """Why the points cannot be used as they are, as a sentence; None also where none are chosen."""
    if None in (referenceNode, otherNode) or nodes == (None, None):
        return None
    # Here, because SimpleITK need not be loaded where nobody has placed a point.
    from MedFusionLib.registration.landmarks import paired

    try:
        message = landmarkMessage(referenceNode, otherNode, nodes)
        assert message is not None
        paired(*([(label, point) for label, point in points] for points in message.values()))
    except (InputError, GeometryError) as error:
        return str(error)
    return None


def _refuseMissing(nodes: Nodes) -> None:
    if None in nodes:
        raise InputError(
            _(
                "Landmarks are chosen on one volume only. Choose those on the other one, too, or "
                "none on both."
            )
        )
    if nodes[0] is nodes[1]:
        raise InputError(
            _("The landmarks on both volumes are the same list. Each volume needs its own.")
        )
    for node in nodes:
        if node.GetScene() is None:
            raise InputError(
                _("The landmarks '{name}' are not in the scene any more. Choose others.").format(
                    name=node.GetName()
                )
            )


def _pointsOn(volumeNode, markupsNode) -> list[list[Any]]:
    placed = placedPoints(markupsNode)
    world = np.array([point for _label, point in placed]).reshape(-1, 3)
    own = fromWorld(world, volumeNode)
    return [[label, point] for (label, _place), point in zip(placed, own.tolist(), strict=True)]


def addLandmarkList(volumeNode, colour: tuple[float, float, float]):
    """A new, empty list of points in a volume's scene, to be placed on that volume.

    It stands under the volume's parent transform, so that the points move with what they mark.
    """
    scene = volumeNode.GetScene()
    name = _("Landmarks on {name}").format(name=volumeNode.GetName())
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", scene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    node.SetControlPointLabelFormat("%d")
    node.GetDisplayNode().SetSelectedColor(*colour)
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    return node
