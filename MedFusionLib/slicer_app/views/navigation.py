"""Slice views that follow a tracked pointer, its tip's crosshair, and how far the image reaches.

The pointer is a transform node whose origin is the tip, as OpenIGTLink and SlicerIGT deliver it.
Where SlicerIGT's Volume Reslice Driver is installed it can turn the views with the pointer; without
it the views keep their orientation and move to the tip.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import slicer
import vtk

from MedFusionLib.slicer_app.views.tracking import TrackingState, TrackingWatch

DRIVER_ATTRIBUTE = "VolumeResliceDriver.Driver"
"""SlicerIGT writes the driving node's ID here; a view that has one must be left alone."""


def tipInWorld(pointerNode) -> np.ndarray:
    """The pointer's origin in the world (RAS, mm), through all its parents."""
    if not pointerNode.IsTransformToWorldLinear():
        toWorld = vtk.vtkGeneralTransform()
        pointerNode.GetTransformToWorld(toWorld)
        return np.array(toWorld.TransformPoint(0.0, 0.0, 0.0))
    matrix = vtk.vtkMatrix4x4()
    pointerNode.GetMatrixTransformToWorld(matrix)
    return np.array([matrix.GetElement(row, 3) for row in range(3)])


def distanceToBorder(volumeNode, pointWorld) -> float:
    """Distance in mm from a point (RAS) to the border of a volume's outermost voxels.

    Positive inside, negative outside. Measured in the volume's own space, so that parent
    transforms that scale do not stretch millimetres of tissue.
    """
    toVolume = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        None, volumeNode.GetParentTransformNode(), toVolume
    )
    rasToIjk = vtk.vtkMatrix4x4()
    volumeNode.GetRASToIJKMatrix(rasToIjk)
    point = [*toVolume.TransformPoint(*pointWorld), 1.0]
    index = np.array(rasToIjk.MultiplyPoint(point)[:3])
    last = np.array(volumeNode.GetImageData().GetDimensions()) - 0.5
    spacing = np.array(volumeNode.GetSpacing())
    beyond = np.maximum(-0.5 - index, index - last) * spacing
    if (beyond <= 0).all():
        return float(-beyond.max())
    return float(-np.linalg.norm(np.maximum(beyond, 0)))


def isDriven(sliceNode) -> bool:
    """Whether SlicerIGT's reslice driver moves this view."""
    return bool(sliceNode.GetAttribute(DRIVER_ATTRIBUTE))


def resliceDriverLogic():
    """The logic of SlicerIGT's Volume Reslice Driver, or None where it is not installed."""
    module = getattr(getattr(slicer, "modules", None), "volumereslicedriver", None)
    return module.logic() if module else None


class PointerFollower:
    """Moves slice views and the crosshair to a pointer's tip, from ``start`` until ``stop``.

    Example::

        follower = PointerFollower(onMoved=lambda tip, distance: print(tip, distance))
        follower.start(getNode("StylusToPatient"), sliceNodes, volumeNode=fused)
        follower.stop()

    ``onMoved`` gets the tip (RAS, mm) and its distance to the volume's border (mm, None without a
    volume). Views that a reslice driver moves are left to it. While the pointer is lost, nothing
    moves and ``onLost`` is called instead: the views keep the last place that was true.
    """

    def __init__(
        self,
        onMoved: Callable[[np.ndarray, float | None], None] | None = None,
        onLost: Callable[[], None] | None = None,
    ) -> None:
        self._onMoved, self._onLost = onMoved, onLost
        self._pointerNode = None
        self._observation: int | None = None
        self._sliceNodes: list = []
        self._volumeNode = None
        self._crosshair: _TipCrosshair | None = None
        self._watch = TrackingWatch()
        self.centred = False
        """Whether the tip is held in the middle of the views, as zoomed ones need it."""

    @property
    def tracking(self) -> TrackingState | None:
        """Whether the pointer is seen; None while none is followed."""
        return self._watch.state() if self._pointerNode is not None else None

    @property
    def pointerNode(self):
        """The transform that is followed, or None."""
        return self._pointerNode

    def start(self, pointerNode, sliceNodes, volumeNode=None) -> None:
        """Follow a transform node; stops following another one first."""
        self.stop()
        self._pointerNode, self._volumeNode = pointerNode, volumeNode
        self._sliceNodes = list(sliceNodes)
        self._crosshair = _TipCrosshair(pointerNode.GetScene())
        self._watch.start(pointerNode)
        self._observation = pointerNode.AddObserver(
            slicer.vtkMRMLTransformNode.TransformModifiedEvent, self._onTransformModified
        )
        self._onTransformModified()

    def stop(self) -> None:
        """Let go of the pointer, and give the crosshair back as it was."""
        if self._pointerNode is None:
            return
        self._pointerNode.RemoveObserver(self._observation)
        self._watch.stop()
        self._crosshair.restore()
        self._pointerNode = self._volumeNode = self._crosshair = self._observation = None
        self._sliceNodes = []

    def _onTransformModified(self, caller=None, event=None) -> None:
        if not self._watch.state().isTrusted:
            if self._onLost is not None:
                self._onLost()
            return
        tip = tipInWorld(self._pointerNode)
        for sliceNode in self._sliceNodes:
            if isDriven(sliceNode):
                continue
            if self.centred:
                sliceNode.JumpSliceByCentering(*tip)
            else:
                sliceNode.JumpSliceByOffsetting(*tip)
        self._crosshair.moveTo(tip)
        if self._onMoved is not None:
            self._onMoved(tip, self._distance(tip))

    def _distance(self, tip) -> float | None:
        volumeNode = self._volumeNode
        if volumeNode is None or volumeNode.GetImageData() is None:
            return None
        return distanceToBorder(volumeNode, tip)


class _TipCrosshair:
    """Slicer's own crosshair, borrowed to show the tip in all slice views."""

    def __init__(self, scene) -> None:
        self._node = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if self._node is not None:
            self._mode = self._node.GetCrosshairMode()
            self._node.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowBasic)

    def moveTo(self, point) -> None:
        if self._node is not None:
            self._node.SetCrosshairRAS(*point)

    def restore(self) -> None:
        if self._node is not None:
            self._node.SetCrosshairMode(self._mode)


class ResliceDrive:
    """Lets SlicerIGT turn views with a pointer, from ``start`` until ``stop``.

    A view that is driven already, as a user can arrange it in SlicerIGT's own module, keeps its
    driver. The others get back their orientation, at the place that they show then.
    """

    def __init__(self) -> None:
        self._driverId = ""
        self._before: list[tuple] = []

    def start(self, sliceNodes, pointerNode) -> bool:
        """Begin to turn views with the pointer; False where SlicerIGT is not installed."""
        self.stop()
        logic = resliceDriverLogic()
        if logic is None:
            return False
        self._driverId = pointerNode.GetID()
        modes = (logic.MODE_INPLANE, logic.MODE_INPLANE90, logic.MODE_TRANSVERSE)
        for sliceNode, mode in zip(sliceNodes, modes, strict=False):
            if not isDriven(sliceNode):
                self._before.append((sliceNode, vtk.vtkMatrix4x4()))
                self._before[-1][1].DeepCopy(sliceNode.GetSliceToRAS())
                logic.SetDriverForSlice(self._driverId, sliceNode)
                logic.SetModeForSlice(mode, sliceNode)
        return True

    def stop(self) -> None:
        """Take back the views that still follow this pointer."""
        logic, before = resliceDriverLogic(), self._before
        self._before = []
        for sliceNode, sliceToRas in before:
            if sliceNode.GetAttribute(DRIVER_ATTRIBUTE) == self._driverId:
                # The driver first: with a mode alone, SlicerIGT's logic would look for a pointer
                # that may have been deleted, and crash.
                logic.SetDriverForSlice("", sliceNode)
                logic.SetModeForSlice(logic.MODE_NONE, sliceNode)
                _turnBack(sliceNode, sliceToRas)


def _turnBack(sliceNode, sliceToRas) -> None:
    """Give a view an orientation of before, and let it show the place that it shows now."""
    for row in range(3):
        sliceToRas.SetElement(row, 3, sliceNode.GetSliceToRAS().GetElement(row, 3))
    sliceNode.GetSliceToRAS().DeepCopy(sliceToRas)
    sliceNode.UpdateMatrices()
