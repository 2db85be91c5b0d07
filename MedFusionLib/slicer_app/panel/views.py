"""The panel's section "View": compare, blend, navigate."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import slicer

from MedFusionLib.slicer_app.panel.beside import BesideSection
from MedFusionLib.slicer_app.panel.blending import BlendSection
from MedFusionLib.slicer_app.panel.navigation import NavigationSection
from MedFusionLib.slicer_app.running.fusion_job import FusionRequest
from MedFusionLib.slicer_app.scene.provenance import sourcesOf
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.slicer_app.views import layouts as view_layouts
from MedFusionLib.slicer_app.views.aligned_other import AlignedOther
from MedFusionLib.slicer_app.views.corner_texts import CornerTexts
from MedFusionLib.slicer_app.views.views_before import ViewsBefore
from MedFusionLib.slicer_app.views.volume_rendering import VolumeIn3D, volumeRenderingLogic


class Mode(Enum):
    """What the views are used for. Whoever leaves the last one gets them back as they were."""

    COMPARE = "compare"
    BLEND = "blend"
    NAVIGATE = "navigate"


class ViewSection:
    """Connects the view buttons: each begins a way of viewing, and pressed again ends it.

    ``shownNode()`` is the fused volume in view, or None; ``makeRequest()`` describes the fusion
    that is chosen.
    """

    def __init__(self, ui, shownNode: Callable, makeRequest: Callable[[], FusionRequest]) -> None:
        self.ui = ui
        self._shownNode = shownNode
        self._parameters = None
        self._mode: Mode | None = None
        self._before: ViewsBefore | None = None
        self._wasFollowing = False
        self._reveal = view_layouts.LayerReveal()
        self._volumeIn3D = VolumeIn3D()
        self._alignedOther = AlignedOther()
        self._cornerTexts = CornerTexts()
        self.beside = BesideSection(ui, self._onOtherPicked)
        self.blending = BlendSection(ui, shownNode, makeRequest, self.beside)
        self.navigation = NavigationSection(ui, shownNode, self._cornerTexts.warn)
        ui.volumeIn3DCheckBox.enabled = volumeRenderingLogic() is not None
        self._connect()

    def _connect(self) -> None:
        ui = self.ui
        ui.compareButton.connect("clicked()", self.onCompareButton)
        ui.blendButton.connect("clicked()", self.onBlendButton)
        ui.navigateButton.connect("clicked()", self.onNavigateButton)
        ui.layerRevealCheckBox.connect("toggled(bool)", self.onLayerReveal)
        ui.slicesIn3DCheckBox.connect("toggled(bool)", self.onSlicesIn3D)
        ui.volumeIn3DCheckBox.connect("toggled(bool)", self.onVolumeIn3D)

    def setParameters(self, parameters) -> None:
        """Use another parameter node, or none while the scene closes."""
        if parameters is None:
            self.stop()
        self.beside.forget()
        self._parameters = parameters
        for section in (self.blending, self.navigation):
            section.setParameters(parameters)
        if parameters is not None:
            self._cornerTexts.start(slicer.mrmlScene)

    @property
    def mode(self) -> Mode | None:
        """What the views are used for now; None as long as they are Slicer's own."""
        return self._mode

    def refresh(self) -> None:
        """Enable what can be done with the chosen nodes; leave what cannot be shown any more."""
        missing = {mode: self._whatIsMissing(mode) for mode in Mode}
        if self._mode is not None and missing[self._mode] is not None:
            self.leave()
        for mode, button in self._buttons().items():
            button.enabled = missing[mode] is None
            button.toolTip = missing[mode] or toolTips()[mode]
            button.checked = mode is self._mode
        self.ui.layerRevealCheckBox.enabled = (
            self.ui.blendButton.enabled and view_layouts.compareVolumesModule() is not None
        )
        self.onVolumeIn3D(self.ui.volumeIn3DCheckBox.checked)
        self.beside.show(self._others())
        self.blending.refresh()
        self.navigation.refresh()

    def _buttons(self) -> dict:
        ui = self.ui
        return {
            Mode.COMPARE: ui.compareButton,
            Mode.BLEND: ui.blendButton,
            Mode.NAVIGATE: ui.navigateButton,
        }

    def _whatIsMissing(self, mode: Mode) -> str | None:
        if mode is Mode.BLEND:
            return self.blending.whatIsMissing()
        reference, other, fused = self.shownNodes()
        if fused is None:
            return _("Fuse two volumes first.")
        if mode is Mode.COMPARE and None in (reference, other):
            return _("A volume that the shown one was made from was deleted.")
        return None

    def shownNodes(self) -> tuple:
        """Of the shown fused volume the reference and the volume that is picked beside it, as its
        provenance names them, and itself.

        None for what is not there. What is chosen for the next run does not matter.
        """
        fused = self._shownNode()
        if fused is None:
            return None, None, None
        reference, *others = sourcesOf(fused)
        return reference, self.beside.pick(others), fused

    def _others(self) -> tuple:
        """The volumes of which one stands beside the reference and the fused one."""
        fused = self._shownNode()
        if self._mode is Mode.COMPARE and fused is not None:
            return sourcesOf(fused)[1:]
        return self.blending.others()

    def _onOtherPicked(self) -> None:
        """Another volume is to be shown in the way that is chosen."""
        if self._mode is Mode.COMPARE:
            _reference, other, fused = self.shownNodes()
            view_layouts.compareWith(self._alignedOther.nodeFor(fused, other))
        self.refresh()

    def onFused(self, fusedNode) -> None:
        """A new result: show it in the way that is chosen, else where the views are."""
        if self._mode is None:
            view_layouts.showLayers([(fusedNode, 1.0)])
        else:
            self._show(self._mode)

    def onCompareButton(self) -> None:
        """Reference, other as aligned, and fused volume side by side."""
        self._toggle(Mode.COMPARE)

    def onBlendButton(self) -> None:
        """Reference and other over each other, under the fused volume where there is one."""
        self._toggle(Mode.BLEND)

    def onNavigateButton(self) -> None:
        """The fused volume in the slice views."""
        self._toggle(Mode.NAVIGATE)

    def _toggle(self, mode: Mode) -> None:
        if mode is self._mode:
            self.leave()
        else:
            self._enter(mode)
        self.refresh()

    def _enter(self, mode: Mode) -> None:
        if self._before is None:
            self._before = ViewsBefore()
            self._wasFollowing = self.navigation.following
        elif self._mode is Mode.COMPARE:
            self._before.giveBackLayout()
        if self._mode is Mode.BLEND:
            self._endBlend()
        self._mode = mode
        self._show(mode)

    def _show(self, mode: Mode) -> None:
        if mode is Mode.COMPARE:
            reference, other, fused = self.shownNodes()
            nodes = (reference, self._alignedOther.nodeFor(fused, other), fused)
            labels = (_("Ref"), _("Oth"), _("Fus"))
            view_layouts.showCompare(nodes, labels, onShown=self.navigation.followShownViews)
            return
        if mode is Mode.BLEND:
            with slicer.util.tryWithErrorDisplay(_("The volumes cannot be blended.")):
                self.blending.show()
        else:
            view_layouts.showLayers([(self._shownNode(), 1.0)])
        self.navigation.followShownViews()

    def leave(self) -> None:
        """Give the views back as they were before the first way of viewing."""
        self._mode = None
        before, self._before = self._before, None
        if not self._wasFollowing:
            self.navigation.leave()
        if before is not None:
            before.giveBack(then=self.navigation.followShownViews)
        self._endBlend()
        self._alignedOther.forget()

    def leaveAll(self) -> None:
        """Leave the way of viewing that is chosen, if any."""
        if self._mode is not None:
            self.leave()
            self.refresh()

    def _endBlend(self) -> None:
        self.blending.forget()
        self.ui.layerRevealCheckBox.checked = False

    def onLayerReveal(self, visible: bool) -> None:
        """Show the other layer around the mouse pointer; that takes two layers."""
        if visible and self._mode is not Mode.BLEND:
            self._enter(Mode.BLEND)
            self.refresh()
        self._reveal.setVisible(visible)

    def onVolumeIn3D(self, visible: bool) -> None:
        """Render the fused volume in the 3D view, or hide it."""
        self._volumeIn3D.show(self._shownNode() if visible else None)

    def onSlicesIn3D(self, visible: bool) -> None:
        """Show the slices in the 3D view, or hide them."""
        view_layouts.showSlicesIn3D(visible)

    def onDeleted(self, names: tuple[str, ...]) -> None:
        """Chosen nodes, by the fields that named them, leave the scene."""
        self.navigation.onDeleted(names)

    def stop(self) -> None:
        """Let go of the pointer, of the mouse and of the views, which stay as they are."""
        self.navigation.stop()
        self.blending.forget()
        self._alignedOther.forget()
        self._cornerTexts.stop()
        self._mode = self._before = None
        if slicer.mrmlScene is not None:
            self._reveal.setVisible(False)
        for box in (self.ui.layerRevealCheckBox, self.ui.volumeIn3DCheckBox):
            box.checked = False
        for button in self._buttons().values():
            button.checked = False
        self._volumeIn3D.forget()


def toolTips() -> dict[Mode, str]:
    """What the buttons do."""
    again = _("Pressed again, the views are as they were.")
    return {
        Mode.COMPARE: _("Reference, other and fused volume side by side, linked") + "\n" + again,
        Mode.BLEND: _("Reference and other volume over each other, and the fused one on top")
        + "\n"
        + again,
        Mode.NAVIGATE: _("The fused volume in the three slice views") + "\n" + again,
    }
