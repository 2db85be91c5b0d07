"""The panel's section "View": compare, blend, navigate."""

from __future__ import annotations

import slicer

from MedFusionLib.slicer_app.panel.texts import distanceText, notFollowedText
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.slicer_app.views import layouts as view_layouts
from MedFusionLib.slicer_app.views.navigation import (
    PointerFollower,
    ResliceDrive,
    resliceDriverLogic,
)
from MedFusionLib.slicer_app.views.volume_rendering import VolumeIn3D, volumeRenderingLogic


class ViewSection:
    """Connects the view buttons and lets the slice views follow a pointer."""

    def __init__(self, ui) -> None:
        self.ui = ui
        self._parameters = None
        self._blending = False
        self._reveal = view_layouts.LayerReveal()
        self._volumeIn3D = VolumeIn3D()
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
        ui, parameters = self.ui, self._parameters
        fused, pointer = parameters.outputVolume, parameters.pointerTransform
        for button in (ui.compareButton, ui.blendButton, ui.navigateButton):
            button.enabled = fused is not None and parameters.referenceVolume is not None
        ui.compareButton.enabled = ui.compareButton.enabled and parameters.otherVolume is not None
        ui.layerRevealCheckBox.enabled = (
            ui.blendButton.enabled and view_layouts.compareVolumesModule() is not None
        )
        ui.followPointerCheckBox.enabled = pointer is not None
        self.onVolumeIn3D(ui.volumeIn3DCheckBox.checked)
        if self._follower.pointerNode is not None and self._follower.pointerNode is not pointer:
            self.onFollowPointer()

    def onFused(self, fusedNode) -> None:
        """A new result: show it where the views show neither it nor a blend with it."""
        if not self._blending:
            view_layouts.showNavigate(fusedNode)

    def onCompareButton(self) -> None:
        """Reference, other and fused volume side by side."""
        parameters = self._parameters
        self._blending = False
        nodes = (parameters.referenceVolume, parameters.otherVolume, parameters.outputVolume)
        labels = (_("Ref"), _("Oth"), _("Fus"))
        view_layouts.showCompare(nodes, labels, onShown=self._followInShownViews)

    def onBlendButton(self) -> None:
        """The fused volume over the reference."""
        parameters = self._parameters
        self._blending = True
        view_layouts.showBlend(
            parameters.referenceVolume, parameters.outputVolume, parameters.blendOpacity
        )
        self._followInShownViews()

    def onNavigateButton(self) -> None:
        """The fused volume in the slice views."""
        self._blending = False
        view_layouts.showNavigate(self._parameters.outputVolume)
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
        parameters = self._parameters
        self._volumeIn3D.show(parameters.outputVolume if visible and parameters else None)

    def onSlicesIn3D(self, visible: bool) -> None:
        """Show the slices in the 3D view, or hide them."""
        view_layouts.showSlicesIn3D(visible)

    def onFollowPointer(self, checked=None) -> None:
        """Begin or end to follow the chosen pointer, as the check boxes say."""
        self._release()
        parameters, ui = self._parameters, self.ui
        pointer = parameters.pointerTransform if parameters else None
        ui.distanceLabel.text = notFollowedText()
        if pointer is None or not ui.followPointerCheckBox.checked:
            return
        sliceNodes = view_layouts.navigationSliceNodes()
        if ui.resliceDriverCheckBox.checked:
            self._drive.start(sliceNodes, pointer)
        self._follower.start(pointer, sliceNodes, parameters.outputVolume)

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
        self._blending = False
        if slicer.mrmlScene is not None:
            self._reveal.setVisible(False)
        ui = self.ui
        for box in (ui.followPointerCheckBox, ui.layerRevealCheckBox, ui.volumeIn3DCheckBox):
            box.checked = False
        self._volumeIn3D.forget()
