"""What a registration has found, as transform nodes that the user can look at, adjust and undo.

Applied to the other volume, the linear node takes it to the reference. Where the other volume was
bent as well, the linear node stands under a grid transform with the displacements: taken out of
it in the module Transforms, the volume lies as the rigid step has left it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from MedFusionLib.registration.transforms import matrix_of
from MedFusionLib.slicer_app.scene.geometry import RAS_LPS_FLIP
from MedFusionLib.slicer_app.scene.provenance import sourcesOf
from MedFusionLib.slicer_app.translation import _

if TYPE_CHECKING:
    import SimpleITK

LINEAR_CLASS = "vtkMRMLLinearTransformNode"
GRID_CLASS = "vtkMRMLGridTransformNode"


def showRegistration(transform: SimpleITK.Transform, referenceNode, otherNode):
    """The node of a found transform (reference to other, LPS, mm), linear or bent.

    Nodes of an earlier run on the same pair are updated; its grid transform leaves the scene where
    nothing is bent any more. Returns the linear node.
    """
    linear, field = _partsOf(transform)
    parentId = referenceNode.GetTransformNodeID()
    if field is not None:
        gridNode = _nodeFor(GRID_CLASS, _("{other} bent to {reference}"), referenceNode, otherNode)
        gridNode.SetAndObserveTransformFromParent(gridTransformOf(field))
        gridNode.SetAndObserveTransformNodeID(parentId)
        parentId = gridNode.GetID()
    node = _nodeFor(LINEAR_CLASS, _("{other} to {reference}"), referenceNode, otherNode)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(otherToReferenceRas(linear)))
    node.SetAndObserveTransformNodeID(parentId)
    if field is None:
        _removeOldGrid(referenceNode, otherNode)
    return node


def _removeOldGrid(referenceNode, otherNode) -> None:
    """Remove what an earlier, deformable run on the same pair has left, unless it is used."""
    scene = referenceNode.GetScene()
    gridNode = _nodeOf(GRID_CLASS, referenceNode, otherNode)
    if gridNode is None:
        return
    used = slicer.util.getNodesByClass("vtkMRMLTransformableNode", scene)
    if all(node.GetParentTransformNode() is not gridNode for node in used):
        scene.RemoveNode(gridNode)


def _partsOf(transform: SimpleITK.Transform):
    """The linear transform and the displacement field before it, None where nothing is bent."""
    import SimpleITK

    if transform.IsLinear():
        return transform, None
    parts = SimpleITK.CompositeTransform(transform)
    linear, bending = parts.GetNthTransform(0), parts.GetNthTransform(1)
    return linear, SimpleITK.DisplacementFieldTransform(bending).GetDisplacementField()


def _nodeFor(className: str, name: str, referenceNode, otherNode):
    """The node of this class that an earlier run on the same pair has left, or a new one."""
    scene = referenceNode.GetScene()
    found = _nodeOf(className, referenceNode, otherNode)
    if found is not None:
        return found
    unique = scene.GenerateUniqueName(
        name.format(other=otherNode.GetName(), reference=referenceNode.GetName())
    )
    node = scene.AddNewNodeByClass(className, unique)
    node.SetNodeReferenceID("MedFusion.Reference", referenceNode.GetID())
    node.SetNodeReferenceID("MedFusion.Other", otherNode.GetID())
    return node


def _nodeOf(className: str, referenceNode, otherNode):
    """The node of this class that an earlier run on the same pair has left; None for none."""
    for node in slicer.util.getNodesByClass(className, referenceNode.GetScene()):
        if sourcesOf(node) == (referenceNode, otherNode):
            return node
    return None


def otherToReferenceRas(transform: SimpleITK.Transform) -> np.ndarray:
    """4×4 matrix in RAS of the inverse of a linear SimpleITK transform (reference to other)."""
    return RAS_LPS_FLIP @ np.linalg.inv(matrix_of(transform)) @ RAS_LPS_FLIP


def gridTransformOf(field: SimpleITK.Image):
    """A displacement field (LPS, mm) as Slicer's grid transform (RAS, mm)."""
    import SimpleITK

    flip = np.diag(RAS_LPS_FLIP)[:3]
    displacements = SimpleITK.GetArrayFromImage(field) * flip
    scalars = numpy_to_vtk(displacements.reshape(-1, 3), deep=True)
    image = vtk.vtkImageData()
    image.SetDimensions(field.GetSize())
    image.SetSpacing(field.GetSpacing())
    image.SetOrigin((flip * field.GetOrigin()).tolist())
    image.GetPointData().SetScalars(scalars)
    directions = np.eye(4)
    directions[:3, :3] = flip[:, None] * np.reshape(field.GetDirection(), (3, 3))
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(image)
    transform.SetGridDirectionMatrix(slicer.util.vtkMatrixFromArray(directions))
    transform.SetInterpolationModeToLinear()
    return transform
