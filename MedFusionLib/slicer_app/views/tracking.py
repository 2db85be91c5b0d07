"""Whether a tracked pointer is seen: moving, still, without news, or lost.

What a tracker says reaches the scene in two ways. OpenIGTLink's interface for Slicer writes the
message's metadata into attributes of the transform node (``TransformStatus``, and each once more
behind ``OpenIGTLink.``) and modifies the node with every message, whether the pose is another or
not. Trackers that tell nothing of a tool that they do not see keep silent, or send a unit matrix.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import slicer
import vtk
from slicer.util import VTKObservationMixin

from MedFusionLib.streaming.messages import is_vouched_for

SECONDS_TO_STALE = 1.0
"""Without a new pose, as in SlicerIGT's Watchdog."""
SECONDS_TO_STILL = 0.5
MOVED_MM = 0.3
"""Below it lies the noise of optical trackers that hold a pointer still."""
MOVED_DEGREES = 0.5
STATUS_ATTRIBUTES = ("TransformStatus", "OpenIGTLink.TransformStatus")
TRACKED_PREFIX = "OpenIGTLink."


class Tracking(Enum):
    """What is known of the pointer."""

    MOVING = "moving"
    STILL = "still"
    STALE = "stale"
    LOST = "lost"


@dataclass(frozen=True)
class TrackingState:
    """``reason``: for a lost pointer the tracker's word, ``matrix`` or ``identity``, else empty.

    ``silence``: seconds since the last pose.
    """

    tracking: Tracking
    silence: float = 0.0
    reason: str = ""

    @property
    def isTrusted(self) -> bool:
        """Whether the pose may be used; one without news may, with a warning."""
        return self.tracking is not Tracking.LOST


class TrackingWatch(VTKObservationMixin):
    """Watches a pointer and the transforms above it, from ``start`` until ``stop``.

    Of transforms above each other any may be the tracked one: the chosen tip often is a fixed
    transform below it. So a pointer is lost when any of them is, and without news when any one
    that is known to be tracked is; where none is known to be, the last news of any counts.
    ``clock`` gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        VTKObservationMixin.__init__(self)
        self._clock = clock
        self._pointerNode = None
        self._news: dict = {}
        self._changed: dict = {}
        self._pose = np.eye(4)
        self._movedAt = -np.inf

    def start(self, pointerNode) -> None:
        """Watch this pointer and no other."""
        self.stop()
        self._pointerNode = pointerNode
        self._pose = poseInWorld(pointerNode)
        self._observeChain()

    def stop(self) -> None:
        """Watch nothing."""
        self.removeObservers()
        self._pointerNode, self._news, self._movedAt = None, {}, -np.inf

    def _observeChain(self) -> None:
        self.removeObservers()
        now, chain = self._clock(), chainOf(self._pointerNode)
        self._news = {node.GetID(): self._news.get(node.GetID(), now) for node in chain}
        self._changed = {node.GetID(): _changedAt(node) for node in chain}
        for node in chain:
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onNews)
            self.addObserver(
                node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._onPose
            )

    def _onNews(self, node, event) -> None:
        self._news[node.GetID()] = self._clock()

    def _onPose(self, node, event) -> None:
        """A transform tells of a new pose of those above it, too, which is no news of its own."""
        changed = _changedAt(node)
        if changed != self._changed.get(node.GetID()):
            self._changed[node.GetID()] = changed
            self._onNews(node, event)

    def state(self) -> TrackingState:
        """What is known now."""
        chain = chainOf(self._pointerNode)
        if list(self._news) != [node.GetID() for node in chain]:
            self._observeChain()
        silence = self._silence(chain)
        if reason := next(filter(None, map(lostReason, chain)), ""):
            return TrackingState(Tracking.LOST, silence, reason)
        pose = poseInWorld(self._pointerNode)
        if not isPose(pose):
            return TrackingState(Tracking.LOST, silence, "matrix")
        if np.array_equal(pose, np.eye(4)):
            return TrackingState(Tracking.LOST, silence, "identity")
        self._remember(pose)
        if silence > SECONDS_TO_STALE:
            return TrackingState(Tracking.STALE, silence)
        moving = self._clock() - self._movedAt <= SECONDS_TO_STILL
        return TrackingState(Tracking.MOVING if moving else Tracking.STILL, silence)

    def _silence(self, chain) -> float:
        tracked = [node for node in chain if isTracked(node)]
        now = self._clock()
        ages = [now - self._news[node.GetID()] for node in tracked or chain]
        return max(ages) if tracked else min(ages)

    def _remember(self, pose: np.ndarray) -> None:
        shift = np.linalg.norm(pose[:3, 3] - self._pose[:3, 3])
        turn = np.degrees(
            np.arccos(np.clip((np.trace(self._pose[:3, :3].T @ pose[:3, :3]) - 1) / 2, -1, 1))
        )
        if shift > MOVED_MM or turn > MOVED_DEGREES:
            self._pose, self._movedAt = pose, self._clock()


def chainOf(transformNode) -> list:
    """A transform node and those above it, itself first."""
    chain = []
    while transformNode is not None:
        chain.append(transformNode)
        transformNode = transformNode.GetParentTransformNode()
    return chain


def isTracked(node) -> bool:
    """Whether a transform node has attributes that OpenIGTLink's interface writes."""
    return any(
        name in STATUS_ATTRIBUTES or name.startswith(TRACKED_PREFIX)
        for name in node.GetAttributeNames()
    )


def lostReason(node) -> str:
    """Why a transform's pose must not be used: the tracker's own word, or its matrix; or empty."""
    for name in STATUS_ATTRIBUTES:
        status = node.GetAttribute(name) or ""
        if not is_vouched_for(status):
            return status.upper().removeprefix("TOOL_")
    matrix = _ownMatrix(node)
    if matrix is None:
        return ""
    if not isPose(matrix):
        return "matrix"
    return "identity" if isTracked(node) and np.array_equal(matrix, np.eye(4)) else ""


def _ownMatrix(node) -> np.ndarray | None:
    """A transform's matrix to its parent; None for a non-linear one."""
    matrix = vtk.vtkMatrix4x4()
    if not node.IsLinear() or not node.GetMatrixTransformToParent(matrix):
        return None
    return slicer.util.arrayFromVTKMatrix(matrix)


def _changedAt(node) -> int:
    """When the transform to the parent, however it is stored, was last set."""
    toParent = node.GetTransformToParent()
    return toParent.GetMTime() if toParent is not None else 0


def isPose(matrix: np.ndarray) -> bool:
    """Whether a 4×4 matrix can be a place and an orientation: finite, and no axis collapses."""
    if not np.isfinite(matrix).all():
        return False
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    return bool((lengths > 0).all() and abs(np.linalg.det(matrix[:3, :3] / lengths)) > 0.01)


def poseInWorld(pointerNode) -> np.ndarray:
    """4×4 (RAS, mm): the pointer's axes and tip in the world, through all its parents."""
    toWorld = vtk.vtkGeneralTransform()
    pointerNode.GetTransformToWorld(toWorld)
    tip = np.array(toWorld.TransformPoint(0.0, 0.0, 0.0))
    pose = np.eye(4)
    pose[:3, 3] = tip
    for axis in range(3):
        pose[:3, axis] = np.array(toWorld.TransformPoint(np.eye(3)[axis])) - tip
    return pose
