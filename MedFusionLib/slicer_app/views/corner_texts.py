"""What stands in the corner of a slice view that shows a fused volume, and warnings across it."""

from __future__ import annotations

import slicer
import vtk
from slicer.util import VTKObservationMixin

from MedFusionLib.slicer_app.scene.colour_legend import renewLegends
from MedFusionLib.slicer_app.scene.provenance import METHOD_ATTRIBUTE, isFused, sourcesOf
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.slicer_app.views.layers import layersOf, shownLayers

COMPOSITE_CLASS = "vtkMRMLSliceCompositeNode"
LONGEST_NAME = 36
"""Characters; a slice view beside two others has room for about as many."""
FONT_SIZE, WARNING_FONT_SIZE = 13, 26
COLOUR, WARNING_COLOUR = (1.0, 0.9, 0.5), (1.0, 0.15, 0.1)
LOWER_RIGHT = vtk.vtkCornerAnnotation.LowerRight
UPPER_EDGE = vtk.vtkCornerAnnotation.UpperEdge
"""Slicer's own annotations take the lower left corner, and with DICOM the upper left one; a legend
the middle of the right edge."""


def cornerText(compositeNode) -> str:
    """Both volumes, the method and *research use only* for a view that shows a fused volume.

    Empty for a view that shows none.
    """
    fused = next((node for node in reversed(shownLayers(compositeNode)) if isFused(node)), None)
    if fused is None:
        return ""
    deleted = _("deleted volume")
    names = [node.GetName() if node is not None else deleted for node in sourcesOf(fused)]
    return "\n".join(
        [
            *(_shortened(name) for name in names),
            _("fused by {method}").format(method=fused.GetAttribute(METHOD_ATTRIBUTE)),
            _("Research use only"),
        ]
    )


def _shortened(name: str) -> str:
    if len(name) <= LONGEST_NAME:
        return name
    half = (LONGEST_NAME - 3) // 2
    return f"{name[:half]}...{name[-half:]}"


class CornerTexts(VTKObservationMixin):
    """Keeps texts and legends of all slice views up to date, from ``start`` until ``stop``.

    ``warn(text)`` writes a text in large letters, red where no other color is given, into every
    slice view; an empty one takes it away.
    """

    def __init__(self) -> None:
        VTKObservationMixin.__init__(self)
        self._scene = None
        self._warning, self._colour = "", WARNING_COLOUR
        self._views: dict[str, _ViewTexts] = {}
        self._shown: dict[str, list] = {}

    def start(self, scene) -> None:
        """Watch the slice views of a scene."""
        self.stop()
        self._scene = scene
        self.addObserver(scene, scene.NodeAddedEvent, self._onNodeAdded)
        self.addObserver(scene, scene.NodeRemovedEvent, self._onNodeRemoved)
        for compositeNode in slicer.util.getNodesByClass(COMPOSITE_CLASS, scene):
            self._watch(compositeNode)
        self.update()

    def stop(self) -> None:
        """Take all texts away."""
        self.removeObservers()
        for view in self._views.values():
            view.remove()
        self._views, self._shown, self._scene = {}, {}, None
        self._warning, self._colour = "", WARNING_COLOUR

    def warn(self, text: str, colour: tuple[float, float, float] = WARNING_COLOUR) -> None:
        """Show a warning in all slice views, or none."""
        if (text, colour) != (self._warning, self._colour):
            self._warning, self._colour = text, colour
            self.update()

    def update(self) -> None:
        """Write what is true now into every slice view."""
        if self._scene is None:
            return
        for compositeNode in slicer.util.getNodesByClass(COMPOSITE_CLASS, self._scene):
            self._update(compositeNode)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, scene, event, node) -> None:
        if node.IsA(COMPOSITE_CLASS):
            self._watch(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, scene, event, node) -> None:
        if node.IsA("vtkMRMLVolumeNode"):
            self.update()

    def _watch(self, compositeNode) -> None:
        if not self.hasObserver(compositeNode, vtk.vtkCommand.ModifiedEvent, self._onModified):
            self.addObserver(compositeNode, vtk.vtkCommand.ModifiedEvent, self._onModified)

    def _onModified(self, compositeNode, event) -> None:
        self._update(compositeNode)
        name, shown = compositeNode.GetLayoutName(), layersOf(compositeNode)
        if shown != self._shown.get(name):
            self._shown[name] = shown
            renewLegends(compositeNode)

    def _onVolumeModified(self, volumeNode, event) -> None:
        self.update()

    def _update(self, compositeNode) -> None:
        view = self._viewOf(compositeNode.GetLayoutName())
        if view is None:
            return
        for node in shownLayers(compositeNode):
            for named in (node, *sourcesOf(node)) if isFused(node) else ():
                self._followName(named)
        view.write(cornerText(compositeNode), self._warning, self._colour)

    def _followName(self, node) -> None:
        event, method = vtk.vtkCommand.ModifiedEvent, self._onVolumeModified
        if node is not None and not self.hasObserver(node, event, method):
            self.addObserver(node, event, method)

    def _viewOf(self, name: str) -> _ViewTexts | None:
        if name not in self._views:
            layoutManager = slicer.app.layoutManager()
            widget = layoutManager.sliceWidget(name) if layoutManager is not None else None
            if widget is None:
                return None
            self._views[name] = _ViewTexts(widget.sliceView())
        return self._views[name]


class _ViewTexts:
    """Two texts of one slice view, of our own: Slicer's Data Probe rewrites the view's."""

    def __init__(self, sliceView) -> None:
        self._sliceView = sliceView
        self._renderer = sliceView.renderWindow().GetRenderers().GetFirstRenderer()
        self._corner = _annotation(FONT_SIZE, COLOUR)
        self._warning = _annotation(WARNING_FONT_SIZE, WARNING_COLOUR)
        self._warning.GetTextProperty().BoldOn()
        for actor in (self._corner, self._warning):
            self._renderer.AddViewProp(actor)

    def write(self, corner: str, warning: str, colour: tuple[float, float, float]) -> None:
        self._warning.GetTextProperty().SetColor(*colour)
        before = self._corner.GetText(LOWER_RIGHT), self._warning.GetText(UPPER_EDGE)
        self._corner.SetText(LOWER_RIGHT, corner)
        self._warning.SetText(UPPER_EDGE, warning)
        if before != (corner, warning):
            self._sliceView.scheduleRender()

    def remove(self) -> None:
        for actor in (self._corner, self._warning):
            self._renderer.RemoveViewProp(actor)
        self._sliceView.scheduleRender()


def _annotation(fontSize: int, colour: tuple[float, float, float]) -> vtk.vtkCornerAnnotation:
    actor = vtk.vtkCornerAnnotation()
    actor.SetMinimumFontSize(fontSize)
    actor.SetMaximumFontSize(fontSize)
    actor.SetNonlinearFontScaleFactor(1)
    properties = actor.GetTextProperty()
    properties.SetColor(*colour)
    properties.SetShadow(1)
    application = getattr(slicer.app, "applicationLogic", None)
    if application is not None:
        application().UseCustomFontFile(properties)
    return actor
