"""Three ways of looking at a fused volume: compare, blend, navigate."""

from __future__ import annotations

import qt
import slicer

from MedFusionLib.slicer_app.navigation import isDriven

COMPARE_LAYOUT = 7341
"""Number of the comparison layout; Slicer's own end below 1000."""
_COMPARE_VIEWS = ("MedFusionReference", "MedFusionOther", "MedFusionFused")
_COMPARE_COLOURS = ("#EEEEEE", "#EDD54C", "#6EB04B")
_VIEW_GROUP = 7


def compareLayout(labels: tuple[str, str, str]) -> str:
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


def showCompare(volumeNodes, labels: tuple[str, str, str]) -> None:
    """Reference, other and fused side by side, scrolled and zoomed together.

    ``labels`` mark the views; Slicer has room for a short word.
    """
    layoutManager = slicer.app.layoutManager()
    layoutNode = layoutManager.layoutLogic().GetLayoutNode()
    if not layoutNode.IsLayoutDescription(COMPARE_LAYOUT):
        layoutNode.AddLayoutDescription(COMPARE_LAYOUT, compareLayout(labels))
    layoutManager.setLayout(COMPARE_LAYOUT)
    for name, volumeNode in zip(_COMPARE_VIEWS, volumeNodes, strict=True):
        sliceWidget = layoutManager.sliceWidget(name)
        compositeNode = sliceWidget.mrmlSliceCompositeNode()
        compositeNode.SetBackgroundVolumeID(volumeNode.GetID() if volumeNode else None)
        compositeNode.SetForegroundVolumeID(None)
        compositeNode.SetLinkedControl(True)
    # Only after the next turn of the event loop have the new views their sizes.
    qt.QTimer.singleShot(0, lambda: _frameAlike(layoutManager, volumeNodes[0]))


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
    """Fused over reference in all slice views; the views stay where they are."""
    _leaveCompare(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    slicer.util.setSliceViewerLayers(
        background=referenceNode, foreground=fusedNode, foregroundOpacity=opacity, fit=False
    )


def setBlendOpacity(opacity: float) -> None:
    """Opacity of the fused layer, 0 to 1."""
    slicer.util.setSliceViewerLayers(foregroundOpacity=opacity)


def showNavigate(fusedNode) -> None:
    """The fused volume alone in the three slice views and the 3D view."""
    _leaveCompare(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    slicer.util.setSliceViewerLayers(background=fusedNode, foreground=None, fit=False)


def _leaveCompare(layout: int) -> None:
    layoutManager = slicer.app.layoutManager()
    if layoutManager is not None and layoutManager.layout == COMPARE_LAYOUT:
        layoutManager.setLayout(layout)


def navigationSliceNodes() -> list:
    """Slice nodes of the layout in view, first the red, yellow and green ones."""
    layoutManager = slicer.app.layoutManager()
    names = sorted(
        layoutManager.sliceViewNames(),
        key=lambda name: (
            ("Red", "Yellow", "Green").index(name) if name in ("Red", "Yellow", "Green") else 3
        ),
    )
    return [layoutManager.sliceWidget(name).mrmlSliceNode() for name in names]


def showSlicesIn3D(visible: bool) -> None:
    """Show the slices of the conventional views in the 3D view, where they cut through space."""
    for sliceNode in navigationSliceNodes():
        sliceNode.SetSliceVisible(visible)


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
