"""Tells of nodes that are about to leave a scene, before Slicer's node selectors see it.

A selector whose node is removed chooses another one by itself; whoever holds a node has to let go
of it first.
"""

from __future__ import annotations

from collections.abc import Callable

import slicer
import vtk


class RemovedNodes:
    """Calls ``onRemoved(node)`` before a node is removed from ``scene``, until ``stop``."""

    def __init__(self, scene, onRemoved: Callable) -> None:
        self._scene = scene

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def told(caller, event, node) -> None:
            onRemoved(node)

        # Selectors are told with a priority of -10.
        self._tag = scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, told, 10.0)

    def stop(self) -> None:
        """Tell no more."""
        if self._scene is not None:
            self._scene.RemoveObserver(self._tag)
            self._scene = None
