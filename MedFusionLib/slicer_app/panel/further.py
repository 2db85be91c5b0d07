"""The panel's section "Further volumes": a row of choices for each volume behind the second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from MedFusionLib.registration.quick_check import APART
from MedFusionLib.slicer_app.choices import AlignmentChoice, Colour, Modality, Window
from MedFusionLib.slicer_app.panel.further_choice import (
    FurtherChoice,
    chooseFurther,
    furtherChoices,
)
from MedFusionLib.slicer_app.panel.inputs import furtherPlaces, pairRequest
from MedFusionLib.slicer_app.panel.node_selectors import letKeyboardReach
from MedFusionLib.slicer_app.panel.position_check import PositionCheck
from MedFusionLib.slicer_app.panel.state import REGISTERING
from MedFusionLib.slicer_app.panel.texts import furtherTitle, lookingText, placeText

COMBOS = {
    "alignment": ("furtherAlignmentComboBox", AlignmentChoice),
    "modality": ("furtherModalityComboBox", Modality),
    "window": ("furtherWindowComboBox", Window),
    "colour": ("furtherColourComboBox", Colour),
}
"""The box for each field of a choice, and what it offers."""


class FurtherSection:
    """Connects the list: ``loadRow()`` makes the widgets of one row, a root and its children.

    Without further volumes it costs nothing: rows are made when they are asked for.
    ``onChanged()`` is called when a look at one of the volumes has ended.
    """

    def __init__(self, ui, client, loadRow: Callable, onChanged: Callable[[], None]) -> None:
        self._ui = ui
        self._client = client
        self._loadRow = loadRow
        self._onChanged = onChanged
        self._parameters = None
        self._rows: list[FurtherRow] = []
        self._checks: list[PositionCheck] = []
        self._title = ""
        ui.addFurtherButton.connect("clicked()", self.onAddButton)

    def setParameters(self, parameters) -> None:
        """Use another parameter node, or none while the scene closes."""
        self._parameters = parameters
        if parameters is None:
            self.stopLooking()
            self._fit(0)
        elif parameters.furtherVolumes:
            self._ui.furtherCollapsibleButton.collapsed = False

    @property
    def selectors(self) -> list:
        """The node selectors of the volumes."""
        return [row.selector for row in self._rows]

    def onAddButton(self) -> None:
        """One more volume, to be chosen."""
        if self._parameters is not None:
            chooseFurther(self._parameters, [*furtherChoices(self._parameters), FurtherChoice()])

    def showChosen(self) -> None:
        """As many rows as there are choices, each with what is chosen."""
        choices = furtherChoices(self._parameters)
        self._fit(len(choices))
        for row, choice in zip(self._rows, choices, strict=True):
            row.show(choice)
        title = furtherTitle(len(choices))
        if title != self._title:
            self._title = self._ui.furtherCollapsibleButton.text = title

    def showTexts(self, texts: tuple[str, ...]) -> None:
        """What each volume is, and how it lies to the reference."""
        for row, text in zip(self._rows, texts, strict=False):
            row.tell(text)

    def _fit(self, count: int) -> None:
        while len(self._rows) > count:
            self._rows.pop().close()
        while len(self._rows) < count:
            number = len(self._rows)
            root, widgets = self._loadRow()
            self._ui.furtherRows.layout().addWidget(root)
            row = FurtherRow(
                root,
                widgets,
                placeText(number),
                lambda choice, number=number: self._choose(number, choice),
                lambda number=number: self._remove(number),
            )
            self._rows.append(row)

    def _choose(self, number: int, choice: FurtherChoice) -> None:
        choices = list(furtherChoices(self._parameters))
        choices[number] = choice
        chooseFurther(self._parameters, choices)

    def _remove(self, number: int) -> None:
        choices = list(furtherChoices(self._parameters))
        del choices[number]
        chooseFurther(self._parameters, choices)

    def useTransforms(self, found: tuple[Any, ...], alignment: AlignmentChoice | None) -> None:
        """Choose the transforms that a run has found for the volumes, None for one without; with
        ``alignment`` they are used from now on in that way."""
        left = list(found)
        choices = []
        for choice in furtherChoices(self._parameters):
            transform = left.pop(0) if choice.volume is not None and left else None
            if transform is not None:
                choice = replace(
                    choice, transform=transform, alignment=alignment or choice.alignment
                )
            choices.append(choice)
        chooseFurther(self._parameters, choices)

    # A look at how each volume lies, before it is fused as it lies

    def look(self, isAllowed: bool) -> None:
        """Look in the background whether the heads lie on each other, one after the other."""
        choices = furtherChoices(self._parameters) if self._rows else ()
        while len(self._checks) < len(choices):
            self._checks.append(PositionCheck(self._client, self._onChanged))
        for number, check in enumerate(self._checks):
            isSeen = isAllowed and number < len(choices)
            if isSeen and choices[number].alignment not in REGISTERING:
                self._watch(check, choices[number])
            else:
                check.stop()

    def _watch(self, check: PositionCheck, choice: FurtherChoice) -> None:
        parameters = self._parameters
        check.watch(furtherPlaces(parameters, choice), lambda: pairRequest(parameters, choice))

    def stopLooking(self) -> None:
        """Give up what is being looked at."""
        for check in self._checks:
            check.stop()

    def reports(self) -> list[dict[str, Any] | None]:
        """What was found of each volume that is to be fused as it lies (`QuickCheck.to_report`)."""
        if not self._checks:
            return []
        choices = furtherChoices(self._parameters)
        pairs = zip(choices, self._checks, strict=False)
        return [
            None if choice.alignment in REGISTERING else check.report for choice, check in pairs
        ]

    def found(self) -> list[tuple[str | None, str | None]]:
        """Of each volume the sentence where it lies apart, and else what was found or is looked
        for."""
        if not self._checks:
            return []
        told = []
        for check, report in zip(self._checks, self.reports(), strict=False):
            isApart = report is not None and report["verdict"] == APART
            sentence = None if report is None else report["sentence"]
            looked = lookingText() if check.isLooking else sentence
            told.append((sentence, None) if isApart else (None, looked))
        return told


class FurtherRow:
    """The widgets of one further volume; tells of what the user changes, never of what is shown."""

    def __init__(
        self,
        root,
        widgets,
        title: str,
        onChosen: Callable[[FurtherChoice], None],
        onRemove: Callable[[], None],
    ) -> None:
        self._root, self._widgets = root, widgets
        self._onChosen = onChosen
        self._isShowing = True
        self._choice = FurtherChoice()
        self.selector = widgets.furtherSelector
        widgets.furtherLabel.text = title + ":"
        for selector in (widgets.furtherSelector, widgets.furtherTransformSelector):
            letKeyboardReach(selector)
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self._onNode)
        for name, offered in COMBOS.values():
            box = getattr(widgets, name)
            for choice in offered:
                box.addItem(offered.label(choice))
            box.connect("activated(int)", self._onBox)
        widgets.furtherRemoveButton.connect("clicked()", onRemove)
        self.show(self._choice)

    def show(self, choice: FurtherChoice) -> None:
        """Show what is chosen."""
        widgets = self._widgets
        self._isShowing = True
        try:
            self._choice = choice
            _setNode(widgets.furtherSelector, choice.volume)
            _setNode(widgets.furtherTransformSelector, choice.transform)
            for field, (name, offered) in COMBOS.items():
                getattr(widgets, name).currentIndex = list(offered).index(getattr(choice, field))
        finally:
            self._isShowing = False
        isTransform = choice.alignment is AlignmentChoice.TRANSFORM
        widgets.furtherTransformLabel.visible = isTransform
        widgets.furtherTransformSelector.visible = isTransform

    def tell(self, text: str) -> None:
        """Show a text; an empty one takes no place."""
        self._widgets.furtherFactsLabel.text = text
        self._widgets.furtherFactsLabel.visible = bool(text)

    def _onNode(self, node) -> None:
        # A selector tells of what it is set to, too, and of a neighbour that nobody has chosen.
        if not self._isShowing:
            widgets = self._widgets
            self._tellChosen(
                volume=widgets.furtherSelector.currentNode(),
                transform=widgets.furtherTransformSelector.currentNode(),
            )

    def _onBox(self, index: int) -> None:
        chosen = {
            field: list(offered)[getattr(self._widgets, name).currentIndex]
            for field, (name, offered) in COMBOS.items()
        }
        self._tellChosen(**chosen)

    def _tellChosen(self, **values: Any) -> None:
        self._onChosen(replace(self._choice, **values))

    def close(self) -> None:
        """Take the row away; nothing is told any more."""
        self._isShowing = True
        root, self._root = self._root, None
        # It stays its parent's child: Python would delete a widget that is nobody's a second time.
        root.hide()
        root.deleteLater()


def _setNode(selector, node) -> None:
    if selector.currentNode() is not node:
        selector.setCurrentNode(node)
