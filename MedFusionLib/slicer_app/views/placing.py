"""Slicer's place mode, in which each click in a view puts a point into one list."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.util import VTKObservationMixin

POINTS_CLASS = "vtkMRMLMarkupsFiducialNode"


class Placing(VTKObservationMixin):
    """Begins and ends the place mode; ``onChanged()`` when the user has ended it elsewhere."""

    def __init__(self, onChanged: Callable[[], None]) -> None:
        VTKObservationMixin.__init__(self)
        self._onChanged = onChanged
        self._wasPersistent = 0

    @property
    def node(self):
        """The list into which a click puts a point now; None outside the place mode."""
        interaction, selection = _modeNodes()
        if interaction is None or selection is None:
            return None
        if interaction.GetCurrentInteractionMode() != interaction.Place:
            return None
        return slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID() or "")

    def begin(self, markupsNode) -> None:
        """From now on each click puts a point into this list, until ``end``."""
        interaction, selection = _modeNodes()
        if not self.Observations:
            self._wasPersistent = interaction.GetPlaceModePersistence()
        self.removeObservers()
        selection.SetReferenceActivePlaceNodeClassName(POINTS_CLASS)
        selection.SetActivePlaceNodeID(markupsNode.GetID())
        interaction.SetPlaceModePersistence(1)
        interaction.SetCurrentInteractionMode(interaction.Place)
        self.addObserver(interaction, interaction.InteractionModeChangedEvent, self._onModified)
        self.addObserver(selection, selection.ActivePlaceNodeIDChangedEvent, self._onModified)

    def end(self) -> None:
        """Clicks do what they did before; nothing where ``begin`` was not called."""
        if not self.Observations:
            return
        self.removeObservers()
        interaction, _selection = _modeNodes()
        interaction.SetPlaceModePersistence(self._wasPersistent)
        if interaction.GetCurrentInteractionMode() == interaction.Place:
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)

    def _onModified(self, caller, event) -> None:
        interaction, _selection = _modeNodes()
        if interaction.GetCurrentInteractionMode() != interaction.Place:
            self.end()
        self._onChanged()


def _modeNodes() -> tuple:
    scene = slicer.mrmlScene
    if scene is None:
        return None, None
    return tuple(
        scene.GetSingletonNode("Singleton", name)
        for name in ("vtkMRMLInteractionNode", "vtkMRMLSelectionNode")
    )
