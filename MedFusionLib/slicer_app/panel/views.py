"""The panel's section "View": compare, blend, navigate."""

from __future__ import annotations

import logging
from collections.abc import Callable

import slicer

from MedFusionLib.slicer_app.panel.texts import (
    distanceText,
    notFollowedText,
    pointerDeletedText,
)
from MedFusionLib.slicer_app.scene.provenance import sourcesOf
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.slicer_app.views import layouts as view_layouts
from MedFusionLib.slicer_app.views.aligned_other import AlignedOther
from MedFusionLib.slicer_app.views.navigation import (
    PointerFollower,
    ResliceDrive,
    resliceDriverLogic,
)
from MedFusionLib.slicer_app.views.volume_rendering import VolumeIn3D, volumeRenderingLogic


class ViewSection:
    """Connects the view buttons and lets the slice views follow a pointer."""

    def __init__(self, ui, shownNode: Callable) -> None:
        self.ui = ui
        self._shownNode = shownNode
        self._parameters = None
        self._blending = False
        self._reveal = view_layouts.LayerReveal()
        self._volumeIn3D = VolumeIn3D()
        self._alignedOther = AlignedOther()
        self._follower = PointerFollower(onMoved=self._onPointerMoved)
        self._drive = ResliceDrive()
        self._showWhatIsInstalled()
        ui.distanceLabel.text = notFollowedText()
        self._connect()

    def _showWhatIsInstalled(self) -> None:
        ui = self.ui
        ui.resliceDriverCheckBox.enabled = resliceDriverLogic() is not None
        ui.volumeIn3DCheckBox.enabled = volumeRenderingLogic() is not None

    def _connect(self) -> None:
        ui = self.ui
        ui.compareButton.connect("clicked()", self.onCompareButton)
        ui.blendButton.connect("clicked()", self.onBlendButton)
        ui.navigateButton.connect("clicked()", self.onNavigateButton)
        ui.blendOpacitySlider.connect("valueChanged(double)", self.onBlendOpacity)
        ui.layerRevealCheckBox.connect("toggled(bool)", self.onLayerReveal)
        ui.followPointerCheckBox.connect("toggled(bool)", self.onFollowPointer)
        ui.resliceDriverCheckBox.connect("toggled(bool)", self.onFollowPointer)
        ui.slicesIn3DCheckBox.connect("toggled(bool)", self.onSlicesIn3D)
        ui.volumeIn3DCheckBox.connect("toggled(bool)", self.onVolumeIn3D)

    def setParameters(self, parameters) -> None:
        """Use another parameter node, or none while the scene closes."""
        if parameters is None:
            self.stop()
        self._parameters = parameters

    def refresh(self) -> None:
        """Enable what can be done with the chosen nodes."""
        ui, pointer = self.ui, self._parameters.pointerTransform
        reference, other, fused = self.shownNodes()
        ui.navigateButton.enabled = fused is not None
        for button, needed, toolTip in (
            (ui.blendButton, (reference,), _("The fused volume over the reference")),
            (
                ui.compareButton,
                (reference, other),
                _("Reference, other and fused volume side by side, linked"),
            ),
        ):
            button.enabled = fused is not None and None not in needed
            isDeleted = fused is not None and None in needed
            button.toolTip = (
                _("A volume that the shown one was made from was deleted.")
                if isDeleted
                else toolTip
            )
        ui.layerRevealCheckBox.enabled = (
            ui.blendButton.enabled and view_layouts.compareVolumesModule() is not None
        )
        ui.followPointerCheckBox.enabled = pointer is not None
        self.onVolumeIn3D(ui.volumeIn3DCheckBox.checked)
        if self._follower.pointerNode is not None and self._follower.pointerNode is not pointer:
            self.onFollowPointer()

    def shownNodes(self) -> tuple:
        """Reference and other of the shown fused volume, as its provenance names them, and itself.

        None for what is not there. What is chosen for the next run does not matter.
        """
        fused = self._shownNode()
        return (None, None, None) if fused is None else (*sourcesOf(fused), fused)

    def onFused(self, fusedNode) -> None:
        """A new result: show it where the views show neither it nor a blend with it."""
        if not self._blending:
            view_layouts.showNavigate(fusedNode)

    def onCompareButton(self) -> None:
        """Reference, other as aligned, and fused volume side by side."""
        self._blending = False
        labels = (_("Ref"), _("Oth"), _("Fus"))
        reference, _other, fused = self.shownNodes()
        nodes = (reference, self._alignedOther.nodeFor(fused), fused)
        view_layouts.showCompare(nodes, labels, onShown=self._followInShownViews)

    def onBlendButton(self) -> None:
        """The fused volume over the reference."""
        reference, _other, fused = self.shownNodes()
        self._blending = True
        view_layouts.showBlend(reference, fused, self._parameters.blendOpacity)
        self._followInShownViews()

    def onNavigateButton(self) -> None:
        """The fused volume in the slice views."""
        self._blending = False
        view_layouts.showNavigate(self._shownNode())
        self._followInShownViews()

    def onBlendOpacity(self, opacity: float) -> None:
        """The slider has moved; it works on a blend only, not on the layers of others."""
        if self._blending:
            view_layouts.setBlendOpacity(opacity)

    def onLayerReveal(self, visible: bool) -> None:
        """Show the other layer around the mouse pointer; that takes two layers."""
        if visible and not self._blending:
            self.onBlendButton()
        self._reveal.setVisible(visible)

    def onVolumeIn3D(self, visible: bool) -> None:
        """Render the fused volume in the 3D view, or hide it."""
        self._volumeIn3D.show(self._shownNode() if visible else None)

    def onSlicesIn3D(self, visible: bool) -> None:
        """Show the slices in the 3D view, or hide them."""
        view_layouts.showSlicesIn3D(visible)

    def onFollowPointer(self, checked=None) -> None:
        """Begin or end to follow the chosen pointer, as the check boxes say."""
        self._release()
        parameters, ui = self._parameters, self.ui
        pointer = parameters.pointerTransform if parameters else None
        if pointer is not None:
            ui.distanceLabel.text = notFollowedText()
        if pointer is None or not ui.followPointerCheckBox.checked:
            return
        sliceNodes = view_layouts.navigationSliceNodes()
        if ui.resliceDriverCheckBox.checked:
            self._drive.start(sliceNodes, pointer)
        self._follower.start(pointer, sliceNodes, self._shownNode())

    def onPointerDeleted(self) -> None:
        """The pointer leaves the scene: stop, uncheck and say so, whatever else is there."""
        wasFollowed = self.ui.followPointerCheckBox.checked
        self._release()
        self.ui.followPointerCheckBox.checked = False
        if wasFollowed:
            self.ui.distanceLabel.text = pointerDeletedText()
            logging.warning("MedFusion: %s", pointerDeletedText())

    def _followInShownViews(self) -> None:
        """Other views may be shown than when the pointer was first followed."""
        if self._follower.pointerNode is not None:
            self.onFollowPointer()

    def _release(self) -> None:
        self._follower.stop()
        self._drive.stop()

    def _onPointerMoved(self, tip, distance) -> None:
        self.ui.distanceLabel.text = distanceText(distance)

    def stop(self) -> None:
        """Let go of the pointer and of the mouse."""
        self._release()
        self._alignedOther.forget()
        self._blending = False
        if slicer.mrmlScene is not None:
            self._reveal.setVisible(False)
        ui = self.ui
        for box in (ui.followPointerCheckBox, ui.layerRevealCheckBox, ui.volumeIn3DCheckBox):
            box.checked = False
        self._volumeIn3D.forget()
