"""The panel's preview: the slice of a view, once or while the user scrolls."""

from __future__ import annotations

from collections.abc import Callable

import slicer

from MedFusionLib.errors import MedFusionError
from MedFusionLib.slicer_app.panel.state import PanelState
from MedFusionLib.slicer_app.panel.texts import previewText
from MedFusionLib.slicer_app.running.fusion_job import FusionRequest
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.slicer_app.views.layouts import previewView
from MedFusionLib.slicer_app.views.slice_preview import SlicePreview


class PreviewSection:
    """Previews what ``makeRequest()`` describes, and what it describes anew after a change."""

    def __init__(self, ui, client, makeRequest: Callable[[], FusionRequest]) -> None:
        self.ui = ui
        self._makeRequest = makeRequest
        self._viewName = ""
        self._preview = SlicePreview(client, self._onShown, self._onError)
        ui.previewButton.connect("clicked()", self.onPreviewButton)
        ui.livePreviewCheckBox.connect("toggled(bool)", self.onLivePreview)

    def onPreviewButton(self) -> None:
        """Fuse the slice of the view once."""
        self._start(live=False)

    def onLivePreview(self, live: bool) -> None:
        """Fuse each slice that the view shows, or stop."""
        if live:
            self._start(live=True)
        else:
            self.stop()

    def show(self, state: PanelState) -> None:
        """Allow or refuse previews as the rules say; follow a change of the choices."""
        for widget in (self.ui.previewButton, self.ui.livePreviewCheckBox):
            widget.enabled = state.previewEnabled
            widget.toolTip = state.previewToolTip
        if not self._preview.active:
            return
        if not state.previewEnabled:
            self.stop()
        elif self._preview.request != self._makeRequest():
            self.renew()

    def _start(self, live: bool) -> None:
        sliceWidget = previewView()
        if sliceWidget is None:
            self._tell(_("No slice view is shown. Choose a layout with slice views first."))
            return
        with slicer.util.tryWithErrorDisplay(_("The slice could not be previewed.")):
            self._viewName = sliceWidget.mrmlSliceNode().GetLayoutName()
            self._preview.start(
                self._makeRequest(),
                sliceWidget.mrmlSliceNode(),
                sliceWidget.mrmlSliceCompositeNode(),
                live,
            )
            self._tell(_("Preparing..."))

    def renew(self) -> None:
        """What is shown is no longer what is chosen, or no longer lies where it lay."""
        if not self._preview.active:
            return
        if self.ui.livePreviewCheckBox.checked:
            self._start(live=True)
        else:
            self.stop()

    def stop(self) -> None:
        """Take the fused slice away from its view."""
        self._preview.stop()
        self._tell("")
        # Without the signal, which would come back here.
        wasBlocked = self.ui.livePreviewCheckBox.blockSignals(True)
        self.ui.livePreviewCheckBox.checked = False
        self.ui.livePreviewCheckBox.blockSignals(wasBlocked)

    def _onShown(self, plane: str, seconds: float, method: str) -> None:
        request = self._preview.request
        self._tell(
            previewText(plane, seconds, method, request.method, request.options, self._viewName)
        )

    def _onError(self, error: MedFusionError) -> None:
        self._tell(str(error))

    def _tell(self, text: str) -> None:
        self.ui.previewLabel.text = text
        # An empty line would take a line's height.
        self.ui.previewLabel.visible = bool(text)
