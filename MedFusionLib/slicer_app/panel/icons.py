"""The pictures on the panel's buttons: Slicer's and Qt's own, so that they look as all others do.

A picture that another version of Slicer lacks is left out; the button keeps its words.
"""

from __future__ import annotations

import qt
import slicer

SLICER_ICONS = {
    "previewButton": "LayoutOneUpRedSliceView",
    "scoreCheckBox": "Small/SlicerInteractivePlotting",
    "compareButton": "LayoutSideBySideView",
    "blendButton": "SlicesComposite",
    "navigateButton": "LayoutFourUpView",
    "layerRevealCheckBox": "Search",
    "followPointerCheckBox": "SlicesCrosshair",
    "resliceDriverCheckBox": "OrientationMarker",
    "slicesIn3DCheckBox": "SliceIntersections",
    "showHiddenButton": "Small/SlicerVisible",
    "showInventedButton": "Small/SlicerVisible",
    "showTableButton": "LayoutFourUpTableView",
    "showPlotButton": "LayoutFourUpQuantitativeView",
    "saveReportButton": "Small/SlicerSave",
    "exportDicomButton": "Small/SlicerLoadDICOM",
}
"""Slicer's picture for each widget: where there is one, that of the layout that the widget shows;
always one in colors, which can be seen on a light and on a dark ground."""


def setIcons(ui) -> None:
    """Give the widgets of ``MedFusion.ui`` their pictures."""
    for name, picture in SLICER_ICONS.items():
        getattr(ui, name).icon = qt.QIcon(f":/Icons/{picture}.png")
    ui.logButton.icon = _standardIcon(ui.logButton, qt.QStyle.SP_FileDialogDetailedView)
    if hasattr(slicer.modules, "volumerendering"):
        ui.volumeIn3DCheckBox.icon = slicer.modules.volumerendering.icon


def setApplyIcon(button, running: bool) -> None:
    """The picture of Apply, or while a run is in progress that of Cancel."""
    style = qt.QStyle
    button.icon = _standardIcon(
        button, style.SP_DialogCancelButton if running else style.SP_DialogApplyButton
    )


def _standardIcon(widget, which):
    return widget.style().standardIcon(which)
