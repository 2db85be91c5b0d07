"""The panel's landmarks: points on both volumes, to start a registration from and to check it."""

from __future__ import annotations

from collections.abc import Callable

from MedFusionLib.slicer_app.scene.landmark_nodes import COLOURS, addLandmarkList, placedPoints
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.slicer_app.views import layouts as view_layouts
from MedFusionLib.slicer_app.views.placing import Placing

FIELDS = (("referenceVolume", "referenceLandmarks"), ("otherVolume", "otherLandmarks"))
"""Fields of the parameter node: a volume and the list of points on it."""


class LandmarkSection:
    """Connects the two lists and the buttons that make them and place points in them.

    ``leaveViews()`` ends Compare and the like, in which the other volume may be shown elsewhere
    than it lies; ``onChanged()`` when the place mode has ended.
    """

    def __init__(self, ui, leaveViews: Callable[[], None], onChanged: Callable[[], None]) -> None:
        self._ui = ui
        self._leaveViews = leaveViews
        self._parameters = None
        self._placing = Placing(onChanged)
        ui.placeOnReferenceButton.connect("clicked()", lambda: self.onPlaceButton(0))
        ui.placeOnOtherButton.connect("clicked()", lambda: self.onPlaceButton(1))

    def setParameters(self, parameters) -> None:
        """Use another parameter node, or none while the scene closes."""
        if parameters is None:
            self._placing.end()
        self._parameters = parameters

    def refresh(self) -> None:
        """Say how many points there are, and which list is being placed."""
        ui, active = self._ui, self._placing.node
        buttons = (ui.placeOnReferenceButton, ui.placeOnOtherButton)
        for button, (volume, points) in zip(buttons, FIELDS, strict=True):
            chosen = getattr(self._parameters, points)
            button.enabled = getattr(self._parameters, volume) is not None
            button.checked = active is not None and active is chosen
        ui.landmarksLabel.text = self._text()

    def _text(self) -> str:
        nodes = [getattr(self._parameters, points) for _volume, points in FIELDS]
        if nodes == [None, None]:
            return _(
                "Three or more points on both volumes, the same spots in the same order. A "
                "registration starts from them, and how far they lie apart is told in the result."
            )
        counts = [len(placedPoints(node)) if node is not None else 0 for node in nodes]
        counted = _("{reference} on the reference, {other} on the other volume.").format(
            reference=counts[0], other=counts[1]
        )
        return " ".join([counted, *self._leftBehind()])

    def _leftBehind(self) -> list[str]:
        """Lists that stay where they are when their volume is moved by its parent transform."""
        pairs = [[getattr(self._parameters, name) for name in names] for names in FIELDS]
        return [
            _(
                "'{points}' stands under another transform than '{volume}' and will not move with "
                "it."
            ).format(points=points.GetName(), volume=volume.GetName())
            for volume, points in pairs
            if None not in (volume, points)
            and volume.GetTransformNodeID() != points.GetTransformNodeID()
        ]

    def onPlaceButton(self, role: int) -> None:
        """Begin to place points on one volume, in a new list where none is chosen; or end it."""
        parameters = self._parameters
        volumeName, pointsName = FIELDS[role]
        volumeNode, markupsNode = getattr(parameters, volumeName), getattr(parameters, pointsName)
        if markupsNode is not None and markupsNode is self._placing.node:
            self.stopPlacing()
            return
        if markupsNode is None:
            markupsNode = addLandmarkList(volumeNode, COLOURS[role])
            setattr(parameters, pointsName, markupsNode)
        self._leaveViews()
        view_layouts.showLayers([(volumeNode, 1.0)])
        view_layouts.zoomToVolume()
        self._placing.begin(markupsNode)
        self.refresh()

    def forget(self, node) -> None:
        """A node leaves the scene; in a list that is gone nothing is placed."""
        if node is self._placing.node:
            self._placing.end()

    def stopPlacing(self) -> None:
        """Clicks in the views place no more points."""
        self._placing.end()
        if self._parameters is not None:
            self.refresh()
