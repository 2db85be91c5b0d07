"""The slice of the red view, fused and laid over it while the user scrolls."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import slicer
import vtk

from MedFusionLib.errors import Cancelled, MedFusionError
from MedFusionLib.methods import PREVIEW_METHOD
from MedFusionLib.slicer_app.running.fusion_job import FusionRequest
from MedFusionLib.slicer_app.running.worker_client import WorkerClient
from MedFusionLib.slicer_app.scene.geometry import RAS_LPS_FLIP, setNodeGeometry
from MedFusionLib.slicer_app.scene.mrml import (
    COLOUR_WINDOW_LEVEL,
    SCALAR_WINDOW_LEVEL,
    addVolumeNode,
)
from MedFusionLib.slicer_app.scene.provenance import METHOD_ATTRIBUTE, recordSources
from MedFusionLib.slicer_app.translation import _

SECONDS_TO_FOLLOW = 1.0
"""A method that takes longer for a slice cannot follow a user who scrolls."""
PLANES = ("sagittal", "coronal", "axial")
"""The plane to which each axis of LPS is normal."""


def viewedSlice(sliceNode, referenceNode) -> tuple[str, list[float]]:
    """Plane and a point (LPS, mm, the reference's own space) of the slice in a view.

    The plane is the patient's one nearest to the view's. The point is the one of the view's plane
    that is nearest to the reference's centre, so that panning and zooming do not matter.
    """
    toReference = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        None, referenceNode.GetParentTransformNode(), toReference
    )
    view = slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())
    origin = np.array(toReference.TransformPoint(view[:3, 3]))
    across = [np.array(toReference.TransformPoint(view[:3, 3] + view[:3, k])) for k in (0, 1)]
    normal = np.cross(across[0] - origin, across[1] - origin)
    normal /= np.linalg.norm(normal)
    centre = _centre(referenceNode)
    point = centre + normal @ (origin - centre) * normal
    return PLANES[int(np.argmax(np.abs(normal)))], (RAS_LPS_FLIP[:3, :3] @ point).tolist()


def _centre(volumeNode) -> np.ndarray:
    """Centre of a volume in its own space (RAS, mm)."""
    ijkToRas = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(ijkToRas)
    middle = (np.array(volumeNode.GetImageData().GetDimensions()) - 1) / 2
    return np.array(ijkToRas.MultiplyPoint([*middle, 1.0])[:3])


class SlicePreview:
    """Keeps a fused slice over a view from ``start`` until ``stop``.

    At most one slice is on its way; while it is, only the newest position is remembered, so that
    fast scrolling never piles up work. ``onShown(plane, seconds, method)`` is called for each slice
    that is shown, with the time since it was asked for; ``onError`` with the reason why one could
    not be. In live mode a method that takes longer than ``SECONDS_TO_FOLLOW`` for a slice gives
    way to ``PREVIEW_METHOD``.
    """

    def __init__(
        self,
        client: WorkerClient,
        onShown: Callable[[str, float, str], None],
        onError: Callable[[MedFusionError], None],
    ) -> None:
        self._client = client
        self._onShown = onShown
        self._onError = onError
        self._request: FusionRequest | None = None
        self._layerNode = None
        self._compositeNode = None
        self._sliceNode = None
        self._observation: int | None = None
        self._volumes: dict = {}
        self._transform = None
        self._further: list = []
        self._job = None
        self._wanted = False
        self._number = 0
        self._plane, self._askedAt, self._method = "", 0.0, ""

    @property
    def active(self) -> bool:
        """Whether slices are shown."""
        return self._request is not None

    @property
    def request(self) -> FusionRequest | None:
        """What the slices are fused from and how."""
        return self._request

    @property
    def layerNode(self):
        """The temporary node with the fused slice, or None."""
        return self._layerNode

    def start(self, request: FusionRequest, sliceNode, compositeNode, live: bool) -> None:
        """Show the slice that is now in the view, and with ``live`` each further one."""
        self.stop()
        self._volumes, self._transform = request.volumes(), request.transform()
        self._further = request.furtherVolumes()
        self._request, self._sliceNode, self._compositeNode = request, sliceNode, compositeNode
        self._method = request.method
        self._before = (compositeNode.GetForegroundVolumeID(), compositeNode.GetForegroundOpacity())
        if live:
            self._observation = sliceNode.AddObserver(
                vtk.vtkCommand.ModifiedEvent, self._onSliceModified
            )
        self._ask()

    def stop(self) -> None:
        """Give the view back as it was, and remove the temporary node."""
        if self._request is None:
            return
        if self._observation is not None:
            self._sliceNode.RemoveObserver(self._observation)
        # A slice that is still on its way belongs to nobody when it arrives.
        self._number += 1
        if self._layerNode is not None:
            self._giveViewBack()
        self._request = self._sliceNode = self._compositeNode = self._observation = None
        self._layerNode, self._job, self._volumes, self._wanted = None, None, {}, False
        self._further = []

    def _giveViewBack(self) -> None:
        shown = self._compositeNode.GetForegroundVolumeID() == self._layerNode.GetID()
        if shown:
            volumeId, opacity = self._before
            self._compositeNode.SetForegroundVolumeID(volumeId)
            self._compositeNode.SetForegroundOpacity(opacity)
        scene = self._layerNode.GetScene()
        if scene is not None:
            displayNode = self._layerNode.GetDisplayNode()
            scene.RemoveNode(self._layerNode)
            # Slicer's subject hierarchy takes the display node away with its volume.
            if scene.IsNodePresent(displayNode):
                scene.RemoveNode(displayNode)

    def _onSliceModified(self, caller=None, event=None) -> None:
        if self._job is not None:
            self._wanted = True
        else:
            self._ask()

    def _ask(self) -> None:
        plane, point = viewedSlice(self._sliceNode, self._request.referenceNode)
        self._wanted = False
        number = self._number

        def ifCurrent(function):
            return lambda value: function(value) if number == self._number else None

        self._plane, self._askedAt = plane, time.monotonic()
        self._job = self._client.submit(
            "preview",
            self._volumes,
            onDone=ifCurrent(self._onSlice),
            onError=ifCurrent(self._onFailure),
            transform=self._transform,
            further=self._further,
            options={**self._request.fuseOptions(), "plane": plane, "method": self._method},
            point=point,
        )

    def _onSlice(self, result) -> None:
        self._job = None
        self._show(result["volume"])
        self._onShown(self._plane, time.monotonic() - self._askedAt, self._method)
        isLive = self._observation is not None
        if isLive and result["seconds"] > SECONDS_TO_FOLLOW and self._method != PREVIEW_METHOD:
            self._method, self._wanted = PREVIEW_METHOD, True
        self._askAgain()

    def _onFailure(self, error: MedFusionError) -> None:
        self._job = None
        if not isinstance(error, Cancelled):
            self._onError(error)
        self._askAgain()

    def _askAgain(self) -> None:
        if self._wanted and self._request is not None:
            self._ask()

    def _show(self, volume) -> None:
        referenceNode = self._request.referenceNode
        if self._layerNode is None:
            self._layerNode = self._makeLayer(referenceNode.GetScene(), volume)
        slicer.util.updateVolumeFromArray(self._layerNode, np.array(volume.voxels))
        setNodeGeometry(self._layerNode, volume.spacing, volume.origin, volume.directions)
        self._layerNode.SetAndObserveTransformNodeID(referenceNode.GetTransformNodeID())
        self._tellSources()
        self._compositeNode.SetForegroundVolumeID(self._layerNode.GetID())
        self._compositeNode.SetForegroundOpacity(1.0)

    def _tellSources(self) -> None:
        """A previewed slice is a fused image, too, and the views say so."""
        self._layerNode.SetAttribute(METHOD_ATTRIBUTE, self._method)
        recordSources(self._layerNode, self._request.sources)

    @staticmethod
    def _makeLayer(scene, volume):
        node = addVolumeNode(scene, volume, _("MedFusion preview"))
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        displayNode = node.GetDisplayNode()
        displayNode.SetSaveWithScene(False)
        displayNode.AutoWindowLevelOff()
        displayNode.SetWindowLevel(
            *(COLOUR_WINDOW_LEVEL if volume.is_colour else SCALAR_WINDOW_LEVEL)
        )
        return node
