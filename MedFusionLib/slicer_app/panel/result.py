"""The panel's section "Result": which fused volume is shown, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Callable

from MedFusionLib.slicer_app.choices import AlignmentChoice
from MedFusionLib.slicer_app.panel.further_choice import chosenSources, furtherChoices
from MedFusionLib.slicer_app.panel.statements import Shown, asHtml, resultStatements
from MedFusionLib.slicer_app.scene.provenance import (
    TRANSFORM_ROLE,
    furtherTransformsOf,
    isFused,
    sourcesOf,
)
from MedFusionLib.slicer_app.scene.quality_nodes import reportOf


class ResultSection:
    """Knows the fused volume in view: the chosen output, else the last one that is still there.

    What it says is read from the node itself, so that it goes with the volume through saved
    scenes, renamed nodes and other choices above. ``useForFurther(transforms, alignment)`` chooses
    what was found for further volumes (`FurtherSection.useTransforms`).
    """

    def __init__(self, ui, isBeingMeasured: Callable[[], bool], useForFurther: Callable) -> None:
        self.ui = ui
        self._useForFurther = useForFurther
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
        """The transform that a registration of the other volume has found; None without one."""
        return next(iter(self.foundTransforms), None)

    @property
    def foundTransforms(self) -> tuple:
        """What registrations of the chosen volumes have found: of the other and each further one
        its transform, None for one that was not registered. Empty for a fusion of others."""
        node = self.node
        if node is None or sourcesOf(node) != chosenSources(self._parameters):
            return ()
        report = reportOf(node) or {}
        reports = (report, *report.get("further", ()))
        transforms = (node.GetNodeReference(TRANSFORM_ROLE), *furtherTransformsOf(node))
        return tuple(
            transform if told.get("registration") else None
            for told, transform in zip(reports, transforms, strict=False)
        )

    def refresh(self) -> None:
        """Say what is shown."""
        found = zip(self.foundTransforms, self._usedTransforms(), strict=False)
        self.ui.useTransformButton.visible = any(
            transform is not None and transform is not used for transform, used in found
        )
        self.ui.resultLabel.text = asHtml(resultStatements(self._shown()))

    def _usedTransforms(self) -> list:
        """The transform that lays the other and each further volume on the reference, None where
        they are laid in another way."""
        parameters = self._parameters
        isUsed = parameters.alignment is AlignmentChoice.TRANSFORM
        further = (one for one in furtherChoices(parameters) if one.volume is not None)
        return [
            parameters.alignmentTransform if isUsed else None,
            *(one.usedTransform for one in further),
        ]

    def _shown(self) -> Shown | None:
        node = self.node
        report = reportOf(node) if node is not None else None
        if report is None:
            return None
        reference, other, *further = sourcesOf(node)
        transform = node.GetNodeReference(TRANSFORM_ROLE)
        return Shown(
            name=node.GetName(),
            report=report,
            reference=_name(reference),
            other=_name(other),
            transform=_name(transform),
            isBeingMeasured=self._isBeingMeasured(),
            isOfChosen=sourcesOf(node) == chosenSources(self._parameters),
            further=tuple(_name(one) for one in further),
            furtherTransforms=tuple(_name(one) for one in furtherTransformsOf(node)),
        )

    def onUseTransformButton(self) -> None:
        """From now on the found transforms align the volumes; nothing is registered again."""
        found, *further = self.foundTransforms or (None,)
        if found is not None:
            self._parameters.alignmentTransform = found
            self._parameters.alignment = AlignmentChoice.TRANSFORM
        self._useForFurther(tuple(further), AlignmentChoice.TRANSFORM)


def _name(node) -> str | None:
    return None if node is None else node.GetName()
