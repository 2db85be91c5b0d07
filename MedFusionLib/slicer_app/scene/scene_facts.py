"""What the panel has to know of the nodes that are chosen, without copying a voxel."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import slicer
import vtk

from MedFusionLib.errors import InputError
from MedFusionLib.registration.overlap import NO_OVERLAP, OTHER_GRID, Overlap, describe_overlap
from MedFusionLib.registration.transforms import matrix_of
from MedFusionLib.slicer_app.scene.geometry import nodeGeometry
from MedFusionLib.slicer_app.scene.node_checks import refuseWhatIsNoImage
from MedFusionLib.slicer_app.scene.provenance import dicomMetadata, syntheticMetadata
from MedFusionLib.slicer_app.scene.transforms import TransformInSteps, transformInSteps
from MedFusionLib.slicer_app.scene.volume_facts import GridFacts, VolumeFacts
from MedFusionLib.slices.stack import nearest_axes
from MedFusionLib.volumes.identity import IDENTITY_FIELDS
from MedFusionLib.volumes.modality import with_modality
from MedFusionLib.volumes.volume import Volume

SAMPLES_PER_AXIS = 64
WHOSE = (*IDENTITY_FIELDS, "study_date")
"""What tells who a volume shows, and when."""


def hasImage(volumeNode) -> bool:
    """Whether a node is there and holds voxels."""
    if volumeNode is None or volumeNode.GetImageData() is None:
        return False
    return volumeNode.GetImageData().GetPointData().GetScalars() is not None


def volumeFacts(volumeNode, modality: str | None) -> VolumeFacts | None:
    """Name, modality (the given one or what DICOM, name or values tell) and patient of a node."""
    if volumeNode is None:
        return None
    name = volumeNode.GetName() or ""
    try:
        refuseWhatIsNoImage(volumeNode)
    except InputError as error:
        return VolumeFacts(name, refusal=str(error))
    volume = with_modality(outline(volumeNode), modality, name)
    return VolumeFacts(
        name=name,
        modality=volume.modality,
        modalitySource=volume.metadata["modality_source"],
        modalityReason=volume.metadata["modality_reason"],
        isColour=isColour(volumeNode),
        identity={key: volume.metadata[key] for key in WHOSE if key in volume.metadata},
        grid=_gridFacts(volume),
    )


def _gridFacts(volume: Volume) -> GridFacts:
    left, posterior, superior = nearest_axes(volume.direction_matrix)
    return GridFacts(volume.spacing, volume.grid_shape, (left, posterior, superior))


def isColour(volumeNode) -> bool:
    """Whether a volume node is for colors."""
    return volumeNode.IsA("vtkMRMLVectorVolumeNode")


def outline(volumeNode) -> Volume:
    """The node's grid and metadata as a Volume; its voxels all show the smallest sampled value."""
    spacing, origin, directions = nodeGeometry(volumeNode)
    shape = tuple(reversed(volumeNode.GetImageData().GetDimensions()))
    # One value seen through a broadcast: no memory, whatever the size.
    voxels = np.broadcast_to(np.float32(_smallestSample(volumeNode)), shape)
    metadata = dicomMetadata(volumeNode) | syntheticMetadata(volumeNode)
    return Volume(voxels, spacing, origin, directions, metadata=metadata)


def _smallestSample(volumeNode) -> float:
    """The smallest value on a coarse lattice of voxels, NaN left out.

    It only serves to tell CT by the air around the patient, which no such lattice misses. All
    voxels of a large volume take half a second, in which the interface would stand still.
    """
    voxels = slicer.util.arrayFromVolume(volumeNode)
    lattice = tuple(slice(None, None, -(-count // SAMPLES_PER_AXIS)) for count in voxels.shape[:3])
    return float(np.fmin.reduce(voxels[lattice], axis=None))


def placedOther(otherNode, transformNode):
    """The other node as if it stood under ``transformNode``; itself without one.

    So an existing transform means what it means in Slicer's Transforms module: what takes the
    other volume to the reference when it is applied to it.
    """
    if transformNode is None:
        return otherNode
    return SimpleNamespace(GetParentTransformNode=lambda: transformNode)


def betweenNodes(referenceNode, otherNode, transformNode=None):
    """SimpleITK transform from the reference's own space to the other's own, None for none."""
    return betweenNodesInSteps(referenceNode, otherNode, transformNode).value


def betweenNodesInSteps(referenceNode, otherNode, transformNode=None) -> TransformInSteps:
    """``betweenNodes`` for callers that cannot wait for a non-linear one."""
    return transformInSteps(referenceNode, placedOther(otherNode, transformNode))


def isBentBetween(referenceNode, otherNode) -> bool:
    """Whether the parent transforms of two volumes differ by one that bends space."""
    if referenceNode is None or otherNode is None:
        return False
    return not betweenNodesInSteps(referenceNode, otherNode).isFound


def relation(referenceNode, otherNode, transformNode=None) -> Overlap | None:
    """How two volume nodes lie to each other in the world; None while one is missing."""
    if not hasImage(referenceNode) or not hasImage(otherNode):
        return None
    parents = (referenceNode.GetParentTransformNode(), otherNode.GetParentTransformNode())
    if transformNode is not None:
        parents = (parents[0], transformNode)
    if all(parent is None or parent.IsTransformToWorldLinear() for parent in parents):
        transform = betweenNodes(referenceNode, otherNode, transformNode)
        return describe_overlap(outline(referenceNode), _moved(outline(otherNode), transform))
    # Sampling a non-linear transform takes longer than a line of text is worth.
    return _boundsOverlap(referenceNode, otherNode, parents)


def _moved(other: Volume, transform) -> Volume:
    """The other volume's grid in the reference's space, by a linear transform (reference to other).

    Comparing two grids is fast; taking thousands of points through a transform is not.
    """
    if transform is None:
        return other
    affine = np.linalg.inv(matrix_of(transform)) @ other.affine_lps
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return Volume(
        other.voxels,
        tuple(spacing.tolist()),
        tuple(affine[:3, 3].tolist()),
        tuple((affine[:3, :3] / spacing).ravel().tolist()),
        # What lies between the spaces is known, so their names no longer matter.
        metadata={},
    )


def _boundsOverlap(referenceNode, otherNode, parents) -> Overlap:
    boxes = [
        _worldBox(node, parent)
        for node, parent in zip((referenceNode, otherNode), parents, strict=True)
    ]
    low = np.maximum(boxes[0][0], boxes[1][0])
    high = np.minimum(boxes[0][1], boxes[1][1])
    if (high <= low).any():
        return Overlap(NO_OVERLAP, 0.0, "")
    smaller = min(float(np.prod(box[1] - box[0])) for box in boxes)
    return Overlap(OTHER_GRID, float(np.prod(high - low)) / smaller, "")


def _worldBox(volumeNode, parent) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest world coordinates (RAS, mm) of the corners of a volume."""
    ijkToRas = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(ijkToRas)
    toWorld = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(parent, None, toWorld)
    last = np.array(volumeNode.GetImageData().GetDimensions()) - 0.5
    corners = np.stack(np.meshgrid(*[(-0.5, end) for end in last]), axis=-1).reshape(-1, 3)
    points = np.array(
        [toWorld.TransformPoint(ijkToRas.MultiplyPoint([*corner, 1])[:3]) for corner in corners]
    )
    return points.min(axis=0), points.max(axis=0)


def displayedWindow(volumeNode) -> tuple[float, float]:
    """Low and high stored value of the window with which a volume is displayed."""
    displayNode = volumeNode.GetScalarVolumeDisplayNode()
    level, width = displayNode.GetLevel(), displayNode.GetWindow()
    return level - width / 2, level + width / 2
