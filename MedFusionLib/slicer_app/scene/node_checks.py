"""What cannot be fused or written to, refused with a sentence before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer

from MedFusionLib.errors import GeometryError, InputError
from MedFusionLib.slicer_app.scene.geometry import nodeGeometry
from MedFusionLib.slicer_app.scene.provenance import isFused
from MedFusionLib.slicer_app.scene.sentences import sameVolumeText
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.volumes.volume import Volume

SCALAR_CLASS = "vtkMRMLScalarVolumeNode"
COLOUR_CLASS = "vtkMRMLVectorVolumeNode"


def classFor(volume: Volume) -> str:
    """The class of node that holds such a volume."""
    return COLOUR_CLASS if volume.is_colour else SCALAR_CLASS


def namedNode(value):
    """The node of Slicer's scene that has this name; a node is given back as it is.

    Raises ``InputError`` for a name that no volume has, or that several have, and for what is
    neither a node nor a name.
    """
    if not isinstance(value, str):
        refuseWhatIsNoNode(value)
        return value
    nodes = slicer.util.getNodesByClass("vtkMRMLVolumeNode", slicer.mrmlScene)
    found = [node for node in nodes if node.GetName() == value]
    if len(found) == 1:
        return found[0]
    sentence = (
        _("{count} volumes of the scene have the name '{name}'. Give the node itself.")
        if found
        else _("No volume of the scene has the name '{name}'.")
    )
    raise InputError(sentence.format(name=value, count=len(found)))


def refuseWhatIsNoNode(value) -> None:
    """Raises ``InputError`` for None, a name or anything else that is no node of a scene."""
    if not isinstance(value, slicer.vtkMRMLNode):
        raise InputError(
            _("{value} is no volume. Give a volume node of the scene, or its name.").format(
                value=repr(value)
            )
        )
    if value.GetScene() is None:
        raise InputError(
            _("The volume '{name}' is not in the scene any more. Choose another one.").format(
                name=value.GetName()
            )
        )


def refuseWhatIsNoTransform(node) -> None:
    """Raises ``InputError`` for anything but a transform node of the scene."""
    if not isinstance(node, slicer.vtkMRMLTransformNode):
        shown = repr(node.GetName()) if isinstance(node, slicer.vtkMRMLNode) else repr(node)
        raise InputError(
            _("{value} is no transform. Give a transform node of the scene.").format(value=shown)
        )
    refuseWhatIsNoNode(node)


def refuseSameVolume(referenceNode, otherNode, furtherNodes: Sequence = ()) -> None:
    """Raises ``InputError`` where a volume would be fused with itself."""
    known = [referenceNode, otherNode]
    for node in furtherNodes:
        if node in known:
            raise InputError(sameVolumeText(node.GetName()))
        known.append(node)
    if referenceNode is otherNode:
        raise InputError(
            _("The reference and the other volume are both '{name}'. Choose two volumes.").format(
                name=referenceNode.GetName()
            )
        )


def refuseWhatIsNoImage(volumeNode) -> None:
    """Raises ``InputError`` for a node that holds no image: empty, labels, tensors, one slice."""
    refuseWhatIsNoNode(volumeNode)
    name = volumeNode.GetName()
    if volumeNode.GetClassName() not in (SCALAR_CLASS, COLOUR_CLASS):
        raise InputError(
            _("'{name}' is no image ({kind}). Choose a scalar or a color volume.").format(
                name=name, kind=volumeNode.GetNodeTagName()
            )
        )
    image = volumeNode.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise InputError(
            _("The volume '{name}' holds no voxels. Load its image first.").format(name=name)
        )
    if min(image.GetDimensions()) < 2:
        raise InputError(
            _(
                "The volume '{name}' is a single slice ({size}). MedFusion needs at least two "
                "slices along each axis."
            ).format(name=name, size=_sizeText(image.GetDimensions()))
        )
    _refuseComponents(volumeNode, image.GetNumberOfScalarComponents())


def _refuseComponents(volumeNode, components: int) -> None:
    spatial = (
        slicer.vtkMRMLVolumeNode.VoxelVectorTypeSpatial,
        slicer.vtkMRMLVolumeNode.VoxelVectorTypeSpatialCovariant,
    )
    expected = (3, 4) if volumeNode.GetClassName() == COLOUR_CLASS else (1,)
    if components not in expected or volumeNode.GetVoxelVectorType() in spatial:
        raise InputError(
            _(
                "The volume '{name}' holds {count} values per voxel that are neither an intensity "
                "nor a color. Choose a scalar or an RGB volume."
            ).format(name=volumeNode.GetName(), count=components)
        )


def refuseAlignmentOverTransform(alignment: str) -> None:
    """Raises ``GeometryError`` where parent transforms lie between and would be passed over."""
    if alignment != "resample":
        raise GeometryError(
            _(
                "The two volumes have different parent transforms, which the alignment "
                "'{alignment}' would pass over. Use 'resample' or a registration, or put both "
                "volumes under the same transform."
            ).format(alignment=alignment)
        )


def refuseOutput(outputNode, referenceNode, otherNode, furtherNodes: Sequence = ()) -> None:
    """Raises ``InputError`` for an output that is an input, or that MedFusion did not make."""
    refuseWhatIsNoNode(outputNode)
    name = outputNode.GetName()
    if outputNode in (referenceNode, otherNode, *furtherNodes):
        raise InputError(
            _(
                "The output '{name}' is one of the inputs, which would be lost. Choose another "
                "output volume, or none for a new one."
            ).format(name=name)
        )
    if outputNode.GetScene() is not referenceNode.GetScene():
        raise InputError(
            _("The output '{name}' is not in the reference's scene. Choose another.").format(
                name=name
            )
        )
    if outputNode.GetClassName() not in (SCALAR_CLASS, COLOUR_CLASS):
        raise InputError(
            _("The output '{name}' is no scalar or color volume. Choose another.").format(name=name)
        )
    if not isFused(outputNode):
        raise InputError(
            _(
                "The output '{name}' was not made by MedFusion, and its voxels would be lost. "
                "Choose a fused volume, or none for a new one."
            ).format(name=name)
        )


def refuseOtherClass(outputNode, volume: Volume) -> None:
    """Raises ``InputError`` for a grayscale output of a color volume, or the reverse."""
    if outputNode.GetClassName() != classFor(volume):
        sentence = (
            _(
                "The fused volume is in color, but the output '{name}' can only be grayscale. "
                "Choose another output volume, or none for a new one."
            )
            if volume.is_colour
            else _(
                "The fused volume is grayscale, but the output '{name}' can only be in color. "
                "Choose another output volume, or none for a new one."
            )
        )
        raise InputError(sentence.format(name=outputNode.GetName()))


def refuseOtherGrid(volume: Volume, report: Mapping[str, Any], referenceNode) -> None:
    """Raises ``InputError`` when the reference no longer has the grid of the fused volume, or the
    one over which its finer grid lies."""
    shape = tuple(reversed(referenceNode.GetImageData().GetDimensions()))
    fusedShape, spacing = volume.grid_shape, volume.spacing
    if report.get("grid"):
        measured = report["reference"]
        fusedShape, spacing = tuple(measured["shape"]), tuple(measured["spacing"])
    geometry = (spacing, volume.origin, tuple(volume.directions))
    if fusedShape != shape or geometry != nodeGeometry(referenceNode):
        raise InputError(
            _(
                "The fused volume does not lie on the grid of '{name}'. The reference was changed "
                "or replaced since the fusion began: fuse again."
            ).format(name=referenceNode.GetName())
        )


def _sizeText(dimensions: Sequence[int]) -> str:
    return "×".join(str(count) for count in dimensions)
