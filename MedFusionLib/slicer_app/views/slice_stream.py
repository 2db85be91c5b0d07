"""The fused slice at the tip for other systems, through the extension SlicerOpenIGTLink.

Slicer's event loop lets no Python thread talk to a network; the extension's connector node does.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import slicer
import vtk

from MedFusionLib.errors import InputError
from MedFusionLib.slicer_app.scene.geometry import RAS_LPS_FLIP, setNodeGeometry
from MedFusionLib.slicer_app.scene.mrml import imageOf, volumeSeenInNode
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.streaming.tip_slices import SPACING, TipSlice, TipSlicer, axial_pose

CONNECTOR_CLASS = "vtkMRMLIGTLConnectorNode"
DEVICE = "MedFusion"
"""The name under which the other system finds the slices."""
PORT = 18946
"""18944 is OpenIGTLink's own, where trackers listen."""
SECONDS_BETWEEN = 0.04
"""A tracker tells more often than a screen shows."""


def canStream() -> bool:
    """Whether the extension SlicerOpenIGTLink is installed."""
    return hasattr(slicer, CONNECTOR_CLASS)


def openConnector(scene):
    """A connector of SlicerOpenIGTLink that waits on ``PORT`` for whoever connects."""
    node = scene.AddNewNodeByClass(CONNECTOR_CLASS, DEVICE)
    node.SetSaveWithScene(False)
    node.SetTypeServer(PORT)
    node.Start()
    return node


class SliceStream:
    """Keeps one axial slice at the tip in a hidden node, from ``start`` until ``stop``.

    The connector sends the node whenever its image is set; its place is set before.
    """

    def __init__(self, makeConnector: Callable = openConnector) -> None:
        self._makeConnector = makeConnector
        self._connector = self._node = self._fusedNode = self._slicer = None
        self._imageState: tuple = ()
        self._sentAt = -np.inf

    @property
    def active(self) -> bool:
        """Whether slices are sent."""
        return self._node is not None

    def start(self, fusedNode) -> None:
        """Send slices of this volume from now on.

        Raises ``InputError`` where it lies under a transform that is not linear.
        """
        self.stop()
        self._cutThrough(fusedNode)
        scene = fusedNode.GetScene()
        self._node = scene.CreateNodeByClass(fusedNode.GetClassName())
        self._node.UnRegister(None)
        self._node.SetName(DEVICE)
        self._node.SetHideFromEditors(True)
        self._node.SetSaveWithScene(False)
        scene.AddNode(self._node)
        self._connector = self._makeConnector(scene)
        self._connector.RegisterOutgoingMRMLNode(self._node)

    def _cutThrough(self, fusedNode) -> None:
        toVolume = _worldToVolume(fusedNode)
        self._slicer = TipSlicer(volumeSeenInNode(fusedNode), toVolume)
        self._fusedNode, self._imageState = fusedNode, _imageState(fusedNode)

    @property
    def fusedNode(self):
        """The volume that is cut, or None."""
        return self._fusedNode

    def send(self, tip: np.ndarray) -> bool:
        """Send the slice at a tip (RAS, mm); False where the last one is only just gone."""
        now = time.monotonic()
        if not self.active or now - self._sentAt < SECONDS_BETWEEN:
            return False
        if _imageState(self._fusedNode) != self._imageState:
            self._cutThrough(self._fusedNode)
        self._slicer.place(_worldToVolume(self._fusedNode))
        _fill(self._node, self._slicer.cut(axial_pose(tip)))
        self._sentAt = now
        return True

    def stop(self) -> None:
        """Send nothing any more, and take the nodes away."""
        connector, node = self._connector, self._node
        self._connector = self._node = self._fusedNode = self._slicer = None
        if connector is not None:
            connector.Stop()
        for one in (connector, node):
            if one is not None and one.GetScene() is not None:
                one.GetScene().RemoveNode(one)


def _imageState(volumeNode) -> tuple:
    """What is another after the volume was fused anew."""
    image = volumeNode.GetImageData()
    return image, image.GetMTime()


def _worldToVolume(volumeNode) -> np.ndarray:
    """(4, 4, RAS): from the world to a volume's own space."""
    matrix, parent = vtk.vtkMatrix4x4(), volumeNode.GetParentTransformNode()
    if parent is not None and not parent.IsTransformToWorldLinear():
        raise InputError(
            _("The fused volume lies under a transform that bends. Slices of it cannot be sent.")
        )
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(None, parent, matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def _fill(node, cut: TipSlice) -> None:
    lps = RAS_LPS_FLIP @ cut.ijk_to_ras
    setNodeGeometry(
        node, (SPACING,) * 3, tuple(lps[:3, 3]), (lps[:3, :3] / SPACING).ravel().tolist()
    )
    node.SetAndObserveImageData(imageOf(cut.pixels))
    if node.IsA("vtkMRMLVectorVolumeNode"):
        node.SetVoxelVectorType(slicer.vtkMRMLVolumeNode.VoxelVectorTypeColorRGB)
