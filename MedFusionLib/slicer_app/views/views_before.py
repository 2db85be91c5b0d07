"""How the slice views were before a mode of viewing changed them, to be given back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import qt
import slicer
import vtk

from MedFusionLib.slicer_app.views.layers import layersOf, setLayers
from MedFusionLib.slicer_app.views.navigation import isDriven


@dataclass(frozen=True)
class _ViewBefore:
    """What a slice view showed: place, zoom, links and layers."""

    sliceToRas: vtk.vtkMatrix4x4
    xyzOrigin: tuple[float, float, float]
    fieldOfView: tuple[float, float, float]
    dimensions: tuple[int, int, int]
    linked: tuple[int, int]
    layers: tuple[tuple[str | None, float], ...]


class ViewsBefore:
    """Remembers layout and slice views at the time it is made; ``giveBack`` makes them so again.

    A view that is turned by a reslice driver stays where the driver has it. A volume that has left
    the scene since is shown no more.
    """

    def __init__(self) -> None:
        self._views: dict[str, _ViewBefore] = {}
        layoutManager = slicer.app.layoutManager()
        self._layout = layoutManager.layout if layoutManager is not None else None
        for name in layoutManager.sliceViewNames() if layoutManager is not None else ():
            widget = layoutManager.sliceWidget(name)
            self._views[name] = _seen(widget.mrmlSliceNode(), widget.mrmlSliceCompositeNode())

    def giveBackLayout(self) -> None:
        """Show the views that were shown."""
        layoutManager = slicer.app.layoutManager()
        if layoutManager is not None and layoutManager.layout != self._layout:
            layoutManager.setLayout(self._layout)

    def giveBack(self, then: Callable[[], None] = lambda: None) -> None:
        """Show the views that were shown, and in them what they showed; ``then()`` is called when
        all is done, in the next turn of the event loop."""

        def settle() -> None:
            # Only now have views of another layout their sizes.
            self._giveBackViews(withLayers=False)
            then()

        self.giveBackLayout()
        self._giveBackViews(withLayers=True)
        qt.QTimer.singleShot(0, settle)

    def _giveBackViews(self, withLayers: bool) -> None:
        layoutManager = slicer.app.layoutManager()
        for name, before in self._views.items() if layoutManager is not None else ():
            widget = layoutManager.sliceWidget(name)
            if widget is None:
                continue
            if withLayers:
                _giveBackLayers(widget.mrmlSliceCompositeNode(), before)
            if not isDriven(widget.mrmlSliceNode()):
                _giveBackPlace(widget.mrmlSliceNode(), before)


def _seen(sliceNode, compositeNode) -> _ViewBefore:
    sliceToRas = vtk.vtkMatrix4x4()
    sliceToRas.DeepCopy(sliceNode.GetSliceToRAS())
    return _ViewBefore(
        sliceToRas=sliceToRas,
        xyzOrigin=tuple(sliceNode.GetXYZOrigin()),
        fieldOfView=tuple(sliceNode.GetFieldOfView()),
        dimensions=tuple(sliceNode.GetDimensions()),
        linked=(compositeNode.GetLinkedControl(), compositeNode.GetHotLinkedControl()),
        layers=tuple(layersOf(compositeNode)),
    )


def _giveBackLayers(compositeNode, before: _ViewBefore) -> None:
    scene = compositeNode.GetScene()
    layers = [
        (volumeId if volumeId and scene.GetNodeByID(volumeId) is not None else None, opacity)
        for volumeId, opacity in before.layers
    ]
    setLayers(compositeNode, layers)
    compositeNode.SetForegroundOpacity(before.layers[1][1])
    compositeNode.SetLinkedControl(before.linked[0])
    compositeNode.SetHotLinkedControl(before.linked[1])


def _giveBackPlace(sliceNode, before: _ViewBefore) -> None:
    columns, rows, _layers = sliceNode.GetDimensions()
    width, height, depth = before.fieldOfView
    # As many millimetres to a pixel as before, where the view has become smaller or larger.
    width, height = (
        width * columns / max(1, before.dimensions[0]),
        height * rows / max(1, before.dimensions[1]),
    )
    wasModifying = sliceNode.StartModify()
    sliceNode.GetSliceToRAS().DeepCopy(before.sliceToRas)
    sliceNode.SetFieldOfView(width, height, depth)
    sliceNode.SetXYZOrigin(*before.xyzOrigin)
    sliceNode.UpdateMatrices()
    sliceNode.EndModify(wasModifying)
