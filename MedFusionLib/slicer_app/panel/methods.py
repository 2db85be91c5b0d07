"""The panel's lists of methods: what most readers want first, the others under a heading."""

from __future__ import annotations

from MedFusionLib.methods import DEFAULT_METHOD, METHODS, PREVIEW_METHOD
from MedFusionLib.slicer_app.translation import _


def firstMethods() -> list[str]:
    """The methods of the short list: what runs by default, what is live, then the others."""
    first = [DEFAULT_METHOD, PREVIEW_METHOD]
    return first + [name for name, card in METHODS.items() if card.first_list and name not in first]


def fillMethods(combo) -> None:
    """List every method; what is below the separator stands under a heading nobody can choose."""
    first = firstMethods()
    others = [name for name in METHODS if name not in first]
    combo.clear()
    for name in first:
        combo.addItem(name, name)
    if not others:
        return
    combo.insertSeparator(combo.count)
    combo.addItem(_("More methods"))
    combo.model().item(combo.count - 1).setEnabled(False)
    for name in others:
        combo.addItem(name, name)


class MethodSection:
    """Binds the list to the parameter node: Slicer's own binding knows lists without headings."""

    def __init__(self, ui) -> None:
        self._combo = ui.methodComboBox
        self._parameters = None
        fillMethods(self._combo)
        self._combo.connect("currentIndexChanged(int)", self.onMethodChanged)

    def setParameters(self, parameters) -> None:
        """Use another parameter node, or none while the scene closes."""
        self._parameters = parameters
        self.showChosen()

    def showChosen(self) -> None:
        """Show the method that the parameter node names, who ever has written it there."""
        if self._parameters is not None:
            self._combo.currentIndex = self._combo.findData(self._parameters.method)

    def onMethodChanged(self, index: int) -> None:
        """Another method is picked."""
        method = self._combo.itemData(index)
        if self._parameters is not None and method:
            self._parameters.method = method
