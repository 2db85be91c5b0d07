"""What the views show: compare, blend or navigate a fused volume, or its metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
import slicer

from MedFusionLib.slicer_app.navigation import isDriven

COMPARE_LAYOUT = 7341
"""Number of the comparison layout; Slicer's own end below 1000."""
_GROWING_LAYOUTS = (COMPARE_LAYOUT + 1, COMPARE_LAYOUT + 2, COMPARE_LAYOUT)
"""With one, two and all three of the views."""
_COMPARE_VIEWS = ("MedFusionReference", "MedFusionOther", "MedFusionFused")
_COMPARE_COLOURS = ("#EEEEEE", "#EDD54C", "#6EB04B")
_VIEW_GROUP = 7
_USUAL_VIEWS = ("Red", "Yellow", "Green")


def compareLayout(labels: Sequence[str]) -> str:
    """Layout XML of as many slice views side by side as there are labels, in a group of their own.

    The views are those for reference, other and fused, in this order.
    """
    views = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{label}</property>'
        f'<property name="viewcolor" action="default">{colour}</property>'
        f'<property name="viewgroup" action="default">{_VIEW_GROUP}</property>'
        "</view></item>"
        for name, label, colour in zip(_COMPARE_VIEWS, labels, _COMPARE_COLOURS, strict=False)
    )
    return f'<layout type="horizontal" split="true">{views}</layout>'


def showCompare(volumeNodes, labels: Sequence[str], onShown: Callable[[], None]) -> None:
    """Reference, other and fused side by side, scrolled and zoomed together.

    ``labels`` mark the views; Slicer has room for a short word. ``onShown()`` is called when all
    is done, a few turns of the event loop later.
    """
    layoutManager = slicer.app.layoutManager()
    layoutNode = layoutManager.layoutLogic().GetLayoutNode()
    if not layoutNode.IsLayoutDescription(COMPARE_LAYOUT):
        for count, layout in enumerate(_GROWING_LAYOUTS, start=1):
            layoutNode.AddLayoutDescription(layout, compareLayout(labels[:count]))
    areMade = set(_COMPARE_VIEWS) <= set(layoutManager.sliceViewNames())
    _growCompare(_GROWING_LAYOUTS[-1:] if areMade else _GROWING_LAYOUTS, volumeNodes, onShown)


def _growCompare(layouts: Sequence[int], volumeNodes, onShown: Callable[[], None]) -> None:
    """Go through the layouts, each in a turn of its own, and show the volumes in the last one.

    Making a view takes Slicer a tenth of a second; an interface should not stand still for three.
    """
    slicer.app.layoutManager().setLayout(layouts[0])
    if len(layouts) > 1:
        _inTheNextTurn(lambda: _growCompare(layouts[1:], volumeNodes, onShown))
    else:
        # Only then have the views their sizes.
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
        other.SetFieldOfView(*first.GetFieldOfView())
        other.UpdateMatrices()


def showBlend(referenceNode, fusedNode, opacity: float) -> None:
    """Fused over reference in the slice views; the views stay where they are."""
    _setLayers(referenceNode, fusedNode)
    setBlendOpacity(opacity)
    _leaveCompare()


def setBlendOpacity(opacity: float) -> None:
    """Opacity of the fused layer, 0 to 1."""
    for compositeNode in _layerNodes():
        compositeNode.SetForegroundOpacity(opacity)


def showNavigate(fusedNode) -> None:
    """The fused volume alone in the three slice views and the 3D view."""
    _setLayers(fusedNode, None)
    _leaveCompare()


def _setLayers(backgroundNode, foregroundNode) -> None:
    """What ``slicer.util.setSliceViewerLayers`` does, but only where it is seen, and each view at
    once: each change of a layer costs 10 ms, in a hidden view too."""
    for compositeNode in _layerNodes():
        wasModifying = compositeNode.StartModify()
        compositeNode.SetBackgroundVolumeID(backgroundNode.GetID())
        compositeNode.SetForegroundVolumeID(foregroundNode.GetID() if foregroundNode else None)
        compositeNode.EndModify(wasModifying)


def _leaveCompare() -> None:
    layoutManager = slicer.app.layoutManager()
    if layoutManager is not None and layoutManager.layout == COMPARE_LAYOUT:
        _switchLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)


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


def showSlicesIn3D(visible: bool) -> None:
    """Show the slices of the conventional views in the 3D view, where they cut through space."""
    for sliceNode in navigationSliceNodes():
        sliceNode.SetSliceVisible(visible)


def showTable(tableNode) -> None:
    """Show a table under the views."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetActiveTableID(tableNode.GetID())
    slicer.app.applicationLogic().PropagateTableSelection()
    _switchLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)


def showPlot(chartNode) -> None:
    """Show a chart beside the views."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetActivePlotChartID(chartNode.GetID())
    slicer.app.applicationLogic().PropagatePlotChartSelection()
    _switchLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView)


def _switchLayout(layout: int) -> None:
    _inTheNextTurn(lambda: slicer.app.layoutManager().setLayout(layout))


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
