"""Lets go of chosen nodes before they leave the scene; lists what may be chosen.

Slicer's node selectors choose a neighbour by themselves when their node is removed. So a removed
node is taken out of the parameter node first, and the selectors follow to "none".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import slicer

from MedFusionLib.slicer_app.panel.further_choice import chooseFurther, furtherChoices
from MedFusionLib.slicer_app.scene.hidden_node import isHiddenMap
from MedFusionLib.slicer_app.scene.provenance import METHOD_ATTRIBUTE, isFused
from MedFusionLib.slicer_app.scene.removed_nodes import RemovedNodes

INPUT_FIELDS = ("referenceVolume", "otherVolume")
NODE_FIELDS = (
    *INPUT_FIELDS,
    *("alignmentTransform", "outputVolume"),
    *("referenceLandmarks", "otherLandmarks"),
    *("pointerTransform", "targetPoint", "trajectoryLine"),
)
"""Fields of the parameter node that name a node."""
FURTHER_FIELD = "furtherVolumes"
OUTPUT_CLASS = "vtkMRMLScalarVolumeNode"
"""The node type of the output's selector; color volumes are of a class below it."""


class ChosenNodes:
    """Watches one scene for the panel; ``onRemoved(names, node)`` is called after letting go.

    ``names`` are the fields that had named the node, empty for one that was not chosen.
    """

    def __init__(
        self,
        ui,
        onRemoved: Callable[[tuple[str, ...], object], None],
        furtherSelectors: Callable[[], list],
    ) -> None:
        self._ui = ui
        self._furtherSelectors = furtherSelectors
        self._onRemoved = onRemoved
        self._parameters = None
        self._watch: RemovedNodes | None = None
        ui.outputSelector.addAttribute(OUTPUT_CLASS, METHOD_ATTRIBUTE)
        ui.offerFusedCheckBox.connect("toggled(bool)", self.onOfferFused)

    def setParameters(self, parameters) -> None:
        """Use another parameter node, or none while the scene closes."""
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        self._parameters = parameters
        if parameters is not None:
            self._watch = RemovedNodes(slicer.mrmlScene, self._letGo)
            self.offerInputs()

    def _letGo(self, node) -> None:
        parameters = self._parameters
        names = tuple(name for name in NODE_FIELDS if getattr(parameters, name) is node)
        for name in names:
            setattr(parameters, name, None)
        if set(names) & set(INPUT_FIELDS):
            parameters.inputsWereDeleted = True
        if self._letGoOfFurther(lambda chosen: chosen is node):
            names = (*names, FURTHER_FIELD)
        self._onRemoved(names, node)

    def _letGoOfFurther(self, isMeant: Callable[[object], bool]) -> bool:
        """Choose none in place of these volumes and transforms; whether one was chosen."""
        before = furtherChoices(self._parameters)
        kept = [
            replace(
                one,
                volume=None if isMeant(one.volume) else one.volume,
                transform=None if isMeant(one.transform) else one.transform,
            )
            for one in before
        ]
        chooseFurther(self._parameters, kept)
        return tuple(kept) != before

    def onOfferFused(self, offered: bool) -> None:
        """Whether a fused volume may be fused again."""
        for name in () if offered or self._parameters is None else INPUT_FIELDS:
            node = getattr(self._parameters, name)
            if node is not None and isFused(node):
                setattr(self._parameters, name, None)
        if not offered and self._parameters is not None:
            self._letGoOfFurther(lambda node: node is not None and isFused(node))
        self.offerInputs()

    def offerInputs(self) -> None:
        """List the volumes that may be inputs: those that MedFusion has not made.

        Fused ones are listed where they are asked for, maps of what is hidden never.
        """
        offered = self._ui.offerFusedCheckBox.checked
        nodes = slicer.util.getNodesByClass("vtkMRMLVolumeNode")
        ids = [
            node.GetID() for node in nodes if isHiddenMap(node) or (isFused(node) and not offered)
        ]
        pair = (self._ui.referenceSelector, self._ui.otherSelector)
        for selector in (*pair, *self._furtherSelectors()):
            model = selector.sortFilterProxyModel()
            if set(model.hiddenNodeIDs) != set(ids):
                model.hiddenNodeIDs = ids
