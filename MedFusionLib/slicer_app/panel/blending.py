"""The panel's way to see reference and other volume over each other, before and after a fusion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from MedFusionLib.slicer_app.panel.beside import BesideSection
from MedFusionLib.slicer_app.panel.further_choice import chosenSources, furtherChoices
from MedFusionLib.slicer_app.running.fusion_job import FusionRequest
from MedFusionLib.slicer_app.scene.provenance import pairOf, sourcesOf
from MedFusionLib.slicer_app.scene.scene_facts import hasImage
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.slicer_app.views import layouts as view_layouts
from MedFusionLib.slicer_app.views.layer_blend import BlendLayers, pairOfFused, pairOfRequest
from MedFusionLib.slicer_app.views.layers import hasMoreLayers


class BlendSection:
    """Lays the chosen volumes over each other, and the volume fused of them on top.

    ``shownNode()`` is the fused volume in view, or None; ``makeRequest()`` describes the fusion
    that is chosen. ``beside`` says which of the volumes beside the reference is laid over it.
    """

    def __init__(
        self,
        ui,
        shownNode: Callable,
        makeRequest: Callable[[], FusionRequest],
        beside: BesideSection,
    ) -> None:
        self.ui = ui
        self._beside = beside
        self._shownNode = shownNode
        self._makeRequest = makeRequest
        self._parameters = None
        self._layers = BlendLayers()
        self._shown: tuple = ()
        self._key: object = None
        ui.otherOpacitySlider.connect("valueChanged(double)", self.onOtherOpacity)
        ui.blendOpacitySlider.connect("valueChanged(double)", self.onFusedOpacity)

    def setParameters(self, parameters) -> None:
        """Use another parameter node, or none while the scene closes."""
        self._parameters = parameters

    @property
    def active(self) -> bool:
        """Whether a blend is shown."""
        return bool(self._shown)

    def nodes(self) -> tuple:
        """Reference, the volume beside it, and the fused volume that was made from them.

        None for what is not there.
        """
        (reference, *others), fused = self._sources()
        return reference, self._beside.pick(others), fused

    def others(self) -> tuple:
        """The volumes beside the reference, of which one is blended with it."""
        return self._sources()[0][1:]

    def _sources(self) -> tuple[tuple, Any]:
        """What is chosen, and None; or with a fused volume of it, what that was made from."""
        parameters, fused = self._parameters, self._shownNode()
        chosen = (parameters.referenceVolume, parameters.otherVolume)
        if fused is not None and (fused is parameters.outputVolume or pairOf(fused) == chosen):
            return sourcesOf(fused), fused
        return chosenSources(parameters), None

    def whatIsMissing(self) -> str | None:
        """Why nothing can be blended, as a sentence; None if it can."""
        reference, other, fused = self.nodes()
        if None in (reference, other):
            if fused is not None:
                return _("A volume that the shown one was made from was deleted.")
            return _("Choose a reference and an other volume first.")
        if reference is other or not (hasImage(reference) and hasImage(other)):
            return _("Choose two different volumes that hold images.")
        return None

    def show(self) -> None:
        """Show the blend, or what has become of it."""
        other, fused = self.nodes()[1:]
        number = self.others().index(other)
        pair = (
            pairOfRequest(self._makeRequest(), number)
            if fused is None
            else pairOfFused(fused, number)
        )
        self._key = self._state()
        layers = self._layers.nodesFor(pair)
        self._shown = (*layers, fused) if fused is not None else layers
        parameters = self._parameters
        opacities = (1.0, parameters.otherOpacity, parameters.blendOpacity)
        view_layouts.showLayers(list(zip(self._shown, opacities, strict=False)))

    def refresh(self) -> None:
        """Follow what is chosen, while a blend is shown."""
        isFused = self.nodes()[2] is not None
        self.ui.blendOpacitySlider.enabled = isFused
        self.ui.otherOpacitySlider.enabled = hasMoreLayers() or not isFused
        if self.active and self._key != self._state():
            self.show()

    def _state(self) -> tuple:
        """What a blend hangs on, as far as it costs nothing to know."""
        reference, other, fused = self.nodes()
        parameters = self._parameters
        images = [node.GetImageData() for node in (reference, other) if node is not None]
        parents = [node.GetParentTransformNode() for node in (reference, other) if node is not None]
        choices = (
            *(parameters.referenceModality, parameters.otherModality),
            *(parameters.referenceWindow, parameters.otherWindow),
            *(parameters.colour, parameters.alignment, parameters.alignmentTransform),
            *furtherChoices(parameters),
        )
        looks = choices if fused is None else (fused.GetAttribute("MedFusion.Parameters"),)
        return (reference, other, fused, *images, *parents, *looks)

    def onOtherOpacity(self, opacity: float) -> None:
        """The slider has moved; it works on a blend only, not on the layers of others."""
        if self.active:
            view_layouts.setOpacity(self._shown[1], opacity)

    def onFusedOpacity(self, opacity: float) -> None:
        """The slider has moved."""
        if len(self._shown) > 2:
            view_layouts.setOpacity(self._shown[2], opacity)

    def forget(self) -> None:
        """Take the layers away."""
        self._shown, self._key = (), None
        self._layers.forget()
