"""Volumes between a MRML scene and MedFusion: the user's nodes in, the fused node out.

The user's nodes are only read: never hardened, resampled or renamed. The fused node lies on the
reference's grid, or a finer one over it, under the reference's parent transform, so that it moves
with the patient.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from MedFusionLib.fusion import REGISTERED, for_each, fuse
from MedFusionLib.slicer_app.pacing import BYTES_PER_STEP
from MedFusionLib.slicer_app.scene.colour_legend import showLegend
from MedFusionLib.slicer_app.scene.geometry import copyNodeGeometry, setNodeGeometry
from MedFusionLib.slicer_app.scene.hidden_node import forgetMaps
from MedFusionLib.slicer_app.scene.node_checks import (
    classFor,
    namedNode,
    refuseAlignmentOverTransform,
    refuseOtherClass,
    refuseOtherGrid,
    refuseOutput,
    refuseSameVolume,
    refuseWhatIsNoImage,
)
from MedFusionLib.slicer_app.scene.provenance import (
    MEASUREMENT_ROLES,
    METHOD_ATTRIBUTE,
    placeUnderStudyOf,
    recordProvenance,
    sourcesOf,
)
from MedFusionLib.slicer_app.scene.scene_facts import outline
from MedFusionLib.slicer_app.scene.transforms import referenceToOtherTransform
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.slices.painting import GREY_MAXIMUM
from MedFusionLib.volumes.modality import with_modality
from MedFusionLib.volumes.volume import Volume

GREY_COLOUR_NODE_ID = "vtkMRMLColorTableNodeGrey"
SCALAR_WINDOW_LEVEL = (float(GREY_MAXIMUM), GREY_MAXIMUM / 2)
"""Shows the whole range of a fused scalar volume."""
COLOUR_WINDOW_LEVEL = (255.0, 127.5)
"""Shows each 8-bit colour as it is; any other window changes the hues."""


def fuseNodes(
    referenceNode,
    otherNode,
    outputNode=None,
    *,
    furtherNodes=(),
    modalities=(None, None),
    alignment="resample",
    **options,
):
    """Fuse two volume nodes of one scene, or volumes of Slicer's scene by name, in this process.

    ``furtherNodes`` are volumes behind the other one. ``modalities`` names those of the reference,
    the other and each further one (MR, CT, PET or SPECT) where the nodes do not tell.
    ``alignment`` (none, resample, rigid, affine, deformable) and ``options`` (method, device,
    colour, plane, ...) are those of ``MedFusionLib.fuse``, for all volumes or as lists with one
    for each beside the reference; the parent transforms of all nodes always count: a registration
    starts from where they put the volumes. Returns the fused node (``outputNode`` updated in place,
    or a new one) and the report. Raises ``InputError`` or ``GeometryError`` with a sentence, and
    leaves the scene as it was.
    """
    referenceNode, *otherNodes = map(namedNode, (referenceNode, otherNode, *furtherNodes))
    refuseSameVolume(referenceNode, otherNodes[0], otherNodes[1:])
    if outputNode is not None:
        outputNode = namedNode(outputNode)
        refuseOutput(outputNode, referenceNode, otherNodes[0], otherNodes[1:])
    nodes = (referenceNode, *otherNodes)
    volumes = [volumeFromNode(*one) for one in zip(nodes, _padded(modalities, nodes), strict=True)]
    alignments = for_each(alignment, volumes[1:], "alignment")
    laid = [_laidBy(referenceNode, *one) for one in zip(otherNodes, alignments, strict=True)]
    ways, starts = map(list, zip(*laid, strict=True))
    result = fuse(volumes, alignment=ways, initial=starts, **options)
    node = fusedNodeFromVolume(
        result.volume,
        result.report,
        referenceNode,
        otherNodes[0],
        outputNode,
        further=[(one, None) for one in otherNodes[1:]],
    )
    return node, result.report


def _padded(modalities, nodes) -> list[str | None]:
    """Modalities of all volumes; those that are not given are found out."""
    return [*modalities, *[None] * (len(nodes) - len(modalities))][: len(nodes)]


def _laidBy(referenceNode, otherNode, alignment: str) -> tuple[Any, Any]:
    """``alignment`` and ``initial`` of ``fuse`` for a node that stands under a transform."""
    transform = referenceToOtherTransform(referenceNode, otherNode)
    if transform is None or alignment in REGISTERED:
        return alignment, transform
    refuseAlignmentOverTransform(alignment)
    return transform, None


def volumeFromNode(volumeNode, modality: str | None = None) -> Volume:
    """The node's voxels (a copy) and geometry without its parent transforms.

    The modality is the given one, else the DICOM one of the subject hierarchy, else a guess from
    the node's name that ``metadata["modality_source"]`` calls a guess. Raises ``InputError`` for a
    node that holds no image: empty, a label map, a tensor or displacement volume, a single slice.
    """
    seen = volumeSeenInNode(volumeNode, modality)
    voxels = seen.voxels
    # Files are read the same way: float32 holds every intensity a scanner delivers.
    dtype = np.float32 if voxels.dtype == np.float64 else voxels.dtype
    return replace(seen, voxels=voxels.astype(dtype, copy=True))


def volumeSeenInNode(volumeNode, modality: str | None = None) -> Volume:
    """As ``volumeFromNode``, but with the node's own voxels, which cannot be written through it.

    Costs nothing, whatever the size; a change of the node shows in the volume.
    """
    refuseWhatIsNoImage(volumeNode)
    name = volumeNode.GetName() or ""
    known = outline(volumeNode)
    metadata = {"source": name, **known.metadata}
    voxels = slicer.util.arrayFromVolume(volumeNode)
    voxels = voxels[..., :3] if voxels.ndim == 4 else voxels.view()
    voxels.flags.writeable = False
    return replace(with_modality(replace(known, metadata=metadata), modality, name), voxels=voxels)


def addVolumeNode(scene, volume: Volume, name: str):
    """Add a volume to a scene as a new node with a display node, and return the node."""
    node = scene.AddNewNodeByClass(classFor(volume), name)
    _setImage(node, imageOf(volume.voxels))
    setNodeGeometry(node, volume.spacing, volume.origin, volume.directions)
    node.CreateDefaultDisplayNodes()
    return node


def fusedNodeFromVolume(
    volume: Volume,
    report: Mapping[str, Any],
    referenceNode,
    otherNode,
    outputNode=None,
    transformNode=None,
    image=None,
    further: Sequence[tuple[Any, Any]] = (),
):
    """Show a fused volume in the reference's scene: in ``outputNode``, or else in a new node.

    The node gets the reference's geometry (bit for bit; of a finer grid its own steps), parent
    transform and study, a fixed window, a legend of its colours, the provenance of ``report`` and
    references to the nodes it was made from; ``transformNode`` is the one that laid the other
    volume on the reference, by default the other's parent. ``further`` are the volumes behind the
    other, each with its transform node or None. An output that was fused from other nodes before
    gets a new name and is no longer tied to the file it was saved to. ``image`` holds the voxels
    already, where ``imageInSteps`` has made it. An updated node keeps its ID and tells its
    observers once. Raises ``InputError``, with the scene untouched, when volume or output node do
    not fit.
    """
    refuseOtherGrid(volume, report, referenceNode)
    furtherNodes = [node for node, _transformNode in further]
    sources = (referenceNode, otherNode, *furtherNodes)
    if outputNode is not None:
        refuseOutput(outputNode, referenceNode, otherNode, furtherNodes)
        refuseOtherClass(outputNode, volume)
        isOfOthers = sourcesOf(outputNode) != sources
    else:
        outputNode = _newFusedNode(volume, report, sources)
        isOfOthers = False
    wasModifying = outputNode.StartModify()
    try:
        if isOfOthers:
            _beginAnew(outputNode, sources)
        # The window first: an image without a fixed one is searched through for a good one.
        showWholeRange(outputNode, volume)
        _setImage(outputNode, image or imageOf(volume.voxels))
        _place(outputNode, volume, report, referenceNode)
        outputNode.SetAndObserveTransformNodeID(referenceNode.GetTransformNodeID())
        recordProvenance(outputNode, report, referenceNode, otherNode, transformNode, further)
        showLegend(outputNode, report)
    finally:
        outputNode.EndModify(wasModifying)
    placeUnderStudyOf(referenceNode, outputNode)
    forgetMaps(outputNode)
    return outputNode


def _place(outputNode, volume: Volume, report: Mapping[str, Any], referenceNode) -> None:
    copyNodeGeometry(referenceNode, outputNode)
    if report.get("grid"):
        outputNode.SetSpacing(volume.spacing)


def _newFusedNode(volume: Volume, report: Mapping[str, Any], sources: Sequence):
    """A node that tells from its first moment in the scene that MedFusion has made it."""
    scene = sources[0].GetScene()
    node = scene.CreateNodeByClass(classFor(volume))
    node.UnRegister(None)
    node.SetName(scene.GenerateUniqueName(fusedName(sources)))
    node.SetAttribute(METHOD_ATTRIBUTE, str(report["method"]))
    return scene.AddNode(node)


def fusedName(sources: Sequence) -> str:
    """The name of a fused volume, which tells what it was made from."""
    reference, *others = (node.GetName() for node in sources)
    return _("{reference} + {other} fused").format(reference=reference, other=" + ".join(others))


def _beginAnew(outputNode, sources: Sequence) -> None:
    """Take from a fused node what told of the volumes it was made from before: its name, the file
    it was saved to, and its measurements."""
    scene = outputNode.GetScene()
    outputNode.SetName(scene.GenerateUniqueName(fusedName(sources)))
    while outputNode.GetNumberOfStorageNodes():
        scene.RemoveNode(outputNode.GetNthStorageNode(0))
    for role in MEASUREMENT_ROLES:
        outputNode.SetNodeReferenceID(role, None)


def showWholeRange(volumeNode, volume: Volume) -> None:
    """Show a fused volume in grey, or in its own colours, with a window that never moves."""
    if volumeNode.GetDisplayNode() is None:
        volumeNode.CreateDefaultDisplayNodes()
    displayNode = volumeNode.GetDisplayNode()
    displayNode.SetAndObserveColorNodeID(GREY_COLOUR_NODE_ID)
    displayNode.AutoWindowLevelOff()
    displayNode.SetWindowLevel(*(COLOUR_WINDOW_LEVEL if volume.is_colour else SCALAR_WINDOW_LEVEL))


def imageInSteps(voxels: np.ndarray) -> Generator[None, None, vtk.vtkImageData]:
    """Copy voxels, (K, J, I) or (K, J, I, 3), into an image of VTK, a few layers with each step.

    The iteration's return value is the image. A large volume takes longer to copy than an
    interface may stand still.
    """
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(voxels.shape[:3]))
    components = voxels.shape[3] if voxels.ndim == 4 else 1
    image.AllocateScalars(get_vtk_array_type(voxels.dtype), components)
    target = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(voxels.shape)
    layers = max(1, BYTES_PER_STEP // max(1, voxels[0].nbytes))
    for first in range(0, len(voxels), layers):
        target[first : first + layers] = voxels[first : first + layers]
        yield
    return image


def imageOf(voxels: np.ndarray) -> vtk.vtkImageData:
    """The image of ``imageInSteps`` at once."""
    steps = imageInSteps(voxels)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _setImage(volumeNode, image: vtk.vtkImageData) -> None:
    """A new image at once, so that no observer ever sees half of the old one."""
    volumeNode.SetAndObserveImageData(image)
    volumeNode.StorableModified()
    if image.GetNumberOfScalarComponents() == 3:
        volumeNode.SetVoxelVectorType(slicer.vtkMRMLVolumeNode.VoxelVectorTypeColorRGB)
