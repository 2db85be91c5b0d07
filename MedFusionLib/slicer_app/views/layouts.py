"""What the views show: compare, blend or navigate a fused volume, or its metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
import slicer

from MedFusionLib.slicer_app.views.layers import hasMoreLayers, layersOf, setLayers
from MedFusionLib.slicer_app.views.navigation import isDriven

COMPARE_LAYOUT = 7341
"""Number of the comparison layout; Slicer's own end below 1000."""
_COMPARE_VIEWS = ("MedFusionReference", "MedFusionOther", "MedFusionFused")
_COMPARE_COLOURS = ("#EEEEEE", "#EDD54C", "#6EB04B")
_VIEW_GROUP = 7
_USUAL_VIEWS = ("Red", "Yellow", "Green")


def compareLayout(labels: Sequence[str]) -> str:
    """Layout XML of three slice views side by side, in a view group of their own."""
    views = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{label}</property>'
        f'<property name="viewcolor" action="default">{colour}</property>'
        f'<property name="viewgroup" action="default">{_VIEW_GROUP}</property>'
        "</view></item>"
        for name, label, colour in zip(_COMPARE_VIEWS, labels, _COMPARE_COLOURS, strict=True)
    )
    return f'<layout type="horizontal" split="true">{views}</layout>'


def showCompare(volumeNodes, labels: Sequence[str], onShown: Callable[[], None]) -> None:
    """Reference, other and fused side by side, scrolled and zoomed together.

    ``labels`` mark the views; beside small views Slicer has room for three letters. ``onShown()``
    is called when all is done, in the next turn of the event loop.
    """
    layoutManager = slicer.app.layoutManager()
    layoutNode = layoutManager.layoutLogic().GetLayoutNode()
    if not layoutNode.IsLayoutDescription(COMPARE_LAYOUT):
        layoutNode.AddLayoutDescription(COMPARE_LAYOUT, compareLayout(labels))
    layoutManager.setLayout(COMPARE_LAYOUT)
    # Only then have the new views their sizes.
    _inTheNextTurn(lambda: _fillCompare(volumeNodes, onShown))


def _fillCompare(volumeNodes, onShown: Callable[[], None]) -> None:
    layoutManager = slicer.app.layoutManager()
    if any(volumeNode.GetScene() is None for volumeNode in volumeNodes):
        return
    for name, volumeNode in zip(_COMPARE_VIEWS, volumeNodes, strict=True):
        compositeNode = layoutManager.sliceWidget(name).mrmlSliceCompositeNode()
        compositeNode.SetBackgroundVolumeID(volumeNode.GetID())
        compositeNode.SetForegroundVolumeID(None)
        compositeNode.SetLinkedControl(True)
    _frameAlike(layoutManager, volumeNodes[0])
    onShown()


def compareWith(volumeNode) -> None:
    """Show another volume between reference and fused one; the views stay where they are."""
    sliceWidget = slicer.app.layoutManager().sliceWidget(_COMPARE_VIEWS[1])
    if sliceWidget is not None:
        compositeNode = sliceWidget.mrmlSliceCompositeNode()
        # Linked views would all show what one is given.
        compositeNode.SetLinkedControl(False)
        compositeNode.SetBackgroundVolumeID(volumeNode.GetID())
        compositeNode.SetLinkedControl(True)


def _inTheNextTurn(function: Callable[[], None]) -> None:
    qt.QTimer.singleShot(0, function)


def _frameAlike(layoutManager, volumeNode) -> None:
    """The same orientation, position and zoom in the three views, framing one volume."""
    sliceNodes = [layoutManager.sliceWidget(name).mrmlSliceNode() for name in _COMPARE_VIEWS]
    if any(isDriven(node) for node in sliceNodes):
        return
    first = sliceNodes[0]
    first.RotateToVolumePlane(volumeNode)
    layoutManager.sliceWidget(_COMPARE_VIEWS[0]).sliceLogic().FitSliceToBackground()
    for other in sliceNodes[1:]:
        other.GetSliceToRAS().DeepCopy(first.GetSliceToRAS())
        other.SetFieldOfView(*_fieldOfViewAtTheZoomOf(first, other))
        other.UpdateMatrices()


def _fieldOfViewAtTheZoomOf(first, other) -> tuple[float, float, float]:
    """Field of view (mm) of a view that has other numbers of pixels than the first one."""
    width, height, depth = first.GetFieldOfView()
    columns, rows, _layers = first.GetDimensions()
    otherColumns, otherRows, _layers = other.GetDimensions()
    return width * otherColumns / columns, height * otherRows / rows, depth


def showLayers(layers: Sequence[tuple]) -> None:
    """Lay volumes over each other in the slice views: (node, opacity) from the lowest up.

    The views stay where they are. Where Slicer has two layers only, the lowest and the topmost are
    shown. Hidden views, whose layers cost as much, are left alone.
    """
    if len(layers) > 2 and not hasMoreLayers():
        layers = [layers[0], layers[-1]]
    for compositeNode in _layerNodes():
        setLayers(compositeNode, [(node.GetID(), opacity) for node, opacity in layers])


def setOpacity(volumeNode, opacity: float) -> None:
    """Opacity (0 to 1) of a volume that lies over others in the slice views, at once."""
    for compositeNode in _layerNodes():
        layers = layersOf(compositeNode)
        ids = [volumeId for volumeId, _ in layers]
        if volumeNode.GetID() in ids[1:]:
            layers[ids.index(volumeNode.GetID(), 1)] = (volumeNode.GetID(), opacity)
            setLayers(compositeNode, layers)


def zoomTo(width: float) -> None:
    """Let every slice view show so many millimetres from left to right, around its middle."""
    for sliceNode in navigationSliceNodes():
        columns, rows, _layers = sliceNode.GetDimensions()
        depth = sliceNode.GetFieldOfView()[2]
        sliceNode.SetXYZOrigin(0.0, 0.0, 0.0)
        sliceNode.SetFieldOfView(width, width * rows / max(1, columns), depth)


def zoomToVolume() -> None:
    """Let every slice view that nobody drives show the whole of its lowest layer."""
    for sliceWidget in _shownSliceWidgets():
        if not isDriven(sliceWidget.mrmlSliceNode()):
            sliceWidget.sliceLogic().FitSliceToBackground()


def _shownSliceWidgets() -> list:
    """Slice views of the layout in view, first the red, yellow and green ones.

    Those three are among them in any layout: they are what the next one is likely to show.
    """
    layoutManager = slicer.app.layoutManager()
    if layoutManager is None:
        return []
    made = layoutManager.sliceViewNames()
    usual = [name for name in _USUAL_VIEWS if name in made]
    others = [layoutManager.sliceWidget(name) for name in sorted(set(made) - set(usual))]
    shown = [widget for widget in others if widget.mrmlSliceNode().IsMappedInLayout()]
    return [*(layoutManager.sliceWidget(name) for name in usual), *shown]


def _layerNodes() -> list:
    """Composite nodes of the shown views; those of the comparison keep the volumes they compare."""
    return [
        sliceWidget.mrmlSliceCompositeNode()
        for sliceWidget in _shownSliceWidgets()
        if sliceWidget.mrmlSliceNode().GetLayoutName() not in _COMPARE_VIEWS
    ]


def navigationSliceNodes() -> list:
    """Slice nodes of the layout in view, first the red, yellow and green ones."""
    return [sliceWidget.mrmlSliceNode() for sliceWidget in _shownSliceWidgets()]


def previewView():
    """The slice view to fuse a slice in: the red one, that of the fused volume in the comparison,
    else the first that is shown; None while no slice view is."""
    shown = [widget for widget in _shownSliceWidgets() if widget.mrmlSliceNode().IsMappedInLayout()]
    for name in ("Red", _COMPARE_VIEWS[-1]):
        for widget in shown:
            if widget.mrmlSliceNode().GetLayoutName() == name:
                return widget
    return shown[0] if shown else None


def showSlicesIn3D(visible: bool) -> None:
    """Show the slices of the conventional views in the 3D view, where they cut through space."""
    for sliceNode in navigationSliceNodes():
        sliceNode.SetSliceVisible(visible)


def showTable(tableNode) -> None:
    """Show a table under the views."""

    def show() -> None:
        slicer.app.applicationLogic().GetSelectionNode().SetActiveTableID(tableNode.GetID())
        slicer.app.applicationLogic().PropagateTableSelection()

    _switchLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView, show)


def showPlot(chartNode) -> None:
    """Show a chart beside the views."""

    def show() -> None:
        slicer.app.applicationLogic().GetSelectionNode().SetActivePlotChartID(chartNode.GetID())
        slicer.app.applicationLogic().PropagatePlotChartSelection()

    _switchLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView, show)


def _switchLayout(layout: int, then: Callable[[], None] = lambda: None) -> None:
    """Switch in a turn of its own, and go on in the one after it.

    Only in the new layout are there views that ``then`` can show something in.
    """

    def switch() -> None:
        slicer.app.layoutManager().setLayout(layout)
        _inTheNextTurn(then)

    _inTheNextTurn(switch)


def compareVolumesModule():
    """Slicer's module CompareVolumes, which has the layer reveal; None where it is missing."""
    if not hasattr(slicer.modules, "comparevolumes"):
        return None
    import CompareVolumes

    return CompareVolumes if hasattr(CompareVolumes, "LayerReveal") else None


class LayerReveal:
    """The square around the mouse that shows the other layer, switched on and off."""

    def __init__(self) -> None:
        self._cursor = None

    def setVisible(self, visible: bool) -> None:
        """Switch the reveal on or off; does nothing where CompareVolumes is missing."""
        if self._cursor is not None:
            self._cursor.cleanup()
            self._cursor = None
        module = compareVolumesModule()
        if visible and module is not None:
            self._cursor = module.LayerReveal()
