"""The panel's section "Result": which fused volume is shown, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Callable

from MedFusionLib.slicer_app.choices import AlignmentChoice
from MedFusionLib.slicer_app.panel.statements import Shown, asHtml, resultStatements
from MedFusionLib.slicer_app.scene.provenance import TRANSFORM_ROLE, isFused, sourcesOf
from MedFusionLib.slicer_app.scene.quality_nodes import reportOf


class ResultSection:
    """Knows the fused volume in view: the chosen output, else the last one that is still there.

    What it says is read from the node itself, so that it goes with the volume through saved
    scenes, renamed nodes and other choices above.
    """

    def __init__(self, ui, isBeingMeasured: Callable[[], bool]) -> None:
        self.ui = ui
        self._isBeingMeasured = isBeingMeasured
        self._parameters = None
        self._lastNode = None
        ui.useTransformButton.connect("clicked()", self.onUseTransformButton)

    def setParameters(self, parameters) -> None:
        """Use another parameter node, or none while the scene closes."""
        self._parameters, self._lastNode = parameters, None
        if parameters is None:
            self.ui.resultLabel.text = asHtml(resultStatements(None))
            self.ui.useTransformButton.visible = False

    def show(self, fusedNode) -> None:
        """A run has made or updated this volume."""
        self._lastNode = fusedNode

    def forget(self, node) -> None:
        """A node leaves the scene."""
        if node is self._lastNode:
            self._lastNode = None

    @property
    def node(self):
        """The fused volume that is shown, or None."""
        chosen = self._parameters.outputVolume if self._parameters is not None else None
        if chosen is not None and isFused(chosen):
            self._lastNode = chosen
        return self._lastNode

    @property
    def foundTransform(self):
        """The transform that a registration of the chosen volumes has found; None without one."""
        node = self.node
        if node is None or sourcesOf(node) != self._chosenPair():
            return None
        report = reportOf(node) or {}
        return node.GetNodeReference(TRANSFORM_ROLE) if report.get("registration") else None

    def _chosenPair(self) -> tuple:
        return self._parameters.referenceVolume, self._parameters.otherVolume

    def refresh(self) -> None:
        """Say what is shown."""
        found, parameters = self.foundTransform, self._parameters
        isUsed = (parameters.alignment, parameters.alignmentTransform) == (
            AlignmentChoice.TRANSFORM,
            found,
        )
        self.ui.useTransformButton.visible = found is not None and not isUsed
        self.ui.resultLabel.text = asHtml(resultStatements(self._shown()))

    def _shown(self) -> Shown | None:
        node = self.node
        report = reportOf(node) if node is not None else None
        if report is None:
            return None
        reference, other = sourcesOf(node)
        transform = node.GetNodeReference(TRANSFORM_ROLE)
        return Shown(
            name=node.GetName(),
            report=report,
            reference=_name(reference),
            other=_name(other),
            transform=_name(transform),
            isBeingMeasured=self._isBeingMeasured(),
            isOfChosen=(reference, other) == self._chosenPair(),
        )

    def onUseTransformButton(self) -> None:
        """From now on the found transform aligns the volumes; nothing is registered again."""
        found = self.foundTransform
        if found is not None:
            self._parameters.alignmentTransform = found
            self._parameters.alignment = AlignmentChoice.TRANSFORM


def _name(node) -> str | None:
    return None if node is None else node.GetName()
