"""Sees when a node is moved in the world or gets other voxels or points, of which a parameter node
that names it does not tell."""

from __future__ import annotations

from collections.abc import Callable

import qt
from slicer.util import VTKObservationMixin

MOVED_MILLISECONDS = 300


class MovedNodes(VTKObservationMixin):
    """Calls ``onMoved()`` after a watched node was moved or got other voxels or points, at most
    three times a second.

    A tracked transform moves sixty times a second; a line of text need not.
    """

    def __init__(self, onMoved: Callable[[], None]) -> None:
        VTKObservationMixin.__init__(self)
        self._onMoved = onMoved
        self._nodes: tuple = ()
        self._told = False

    def watch(self, *nodes) -> None:
        """Watch these transformable nodes, None for one that is not chosen, and no others."""
        if nodes == self._nodes:
            return
        self._nodes = nodes
        self.removeObservers()
        # One volume may be chosen twice, until the panel has refused it.
        for node in {node for node in nodes if node is not None}:
            self.addObserver(node, node.TransformModifiedEvent, self._onModified)
            if node.IsA("vtkMRMLVolumeNode"):
                self.addObserver(node, node.ImageDataModifiedEvent, self._onModified)
            if node.IsA("vtkMRMLMarkupsNode"):
                for event in (
                    node.PointAddedEvent,
                    node.PointModifiedEvent,
                    node.PointRemovedEvent,
                ):
                    self.addObserver(node, event, self._onModified)

    def _onModified(self, caller, event) -> None:
        if not self._told:
            self._told = True
            qt.QTimer.singleShot(MOVED_MILLISECONDS, self._tell)

    def _tell(self) -> None:
        self._told = False
        if self._nodes:
            self._onMoved()
