"""The panel's choice of the source that Compare and Blend show beside the fused volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from MedFusionLib.slicer_app.panel.texts import placeText
from MedFusionLib.slicer_app.translation import _


class BesideSection:
    """Offers the volumes beside the reference, where there is more than one.

    ``onChanged()`` is called when the user has picked another one.
    """

    def __init__(self, ui, onChanged: Callable[[], None]) -> None:
        self._ui = ui
        self._onChanged = onChanged
        self._offered: list[tuple[str, Any]] = []
        self._node = None
        ui.besideComboBox.connect("activated(int)", self.onActivated)

    def pick(self, others: Sequence):
        """Of the volumes beside the reference the one that is picked, else the first."""
        return self._node if self._node is not None and self._node in others else others[0]

    def show(self, others: Sequence) -> None:
        """Offer these volumes; one that is None was deleted."""
        box = self._ui.besideComboBox
        isOffered = len(others) > 1
        self._ui.besideLabel.visible = box.visible = isOffered
        offered = _named(others) if isOffered else []
        if offered != self._offered:
            self._offered = offered
            # No signal of the box is listened to but that of a user's pick.
            box.clear()
            for text, _node in offered:
                box.addItem(text)
        nodes = [node for _text, node in offered]
        picked = self.pick(others) if isOffered else None
        if picked in nodes:
            box.currentIndex = nodes.index(picked)

    def onActivated(self, index: int) -> None:
        """The user has picked a volume."""
        self._node = self._offered[index][1]
        self._onChanged()

    def forget(self) -> None:
        """Show the first again: the scene is another one."""
        self._node = None
        self.show(())


def _named(others: Sequence) -> list[tuple[str, Any]]:
    places = [_("Other volume"), *(placeText(number) for number in range(len(others) - 1))]
    return [
        (f"{place}: {node.GetName()}", node)
        for place, node in zip(places, others, strict=True)
        if node is not None
    ]
