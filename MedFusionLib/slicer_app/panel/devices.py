"""The panel's choice of a device: what the worker process can run on, and what it cannot use."""

from __future__ import annotations

from collections.abc import Callable

from MedFusionLib.slicer_app.panel.texts import deviceToolTip
from MedFusionLib.slicer_app.running.torch_setup import torchInstalled
from MedFusionLib.slicer_app.translation import _


class DeviceSection:
    """Fills the list of devices; ``onChanged()`` is called when ``warning`` may be another one."""

    def __init__(self, ui, logic, onChanged: Callable[[], None]) -> None:
        self.warning: str | None = None
        """A sentence when this computer has a GPU that PyTorch cannot use."""
        self._combo = ui.deviceComboBox
        self._logic = logic
        self._onChanged = onChanged
        self._parameters = None
        self._fill([])
        self._combo.connect("activated(int)", self.onDeviceActivated)

    def setParameters(self, parameters) -> None:
        """Use another parameter node, or none while the scene closes."""
        self._parameters = parameters
        self.showChosen()

    def ask(self) -> None:
        """Let the worker say what it can run on, once; the panel goes on meanwhile."""
        if torchInstalled() and not self._logic.devicesKnown:
            self._logic.describeDevices(self._onDevices)

    def _onDevices(self, described) -> None:
        self.warning = described["warning"]
        self._combo.toolTip = deviceToolTip(described["torch"])
        self._fill(described["devices"])
        self._onChanged()

    def _fill(self, devices) -> None:
        self._combo.clear()
        self._combo.addItem(_("Automatic"), "auto")
        for device in devices:
            self._combo.addItem(device["label"], device["name"])
        self.showChosen()

    def showChosen(self) -> None:
        """Show the device that the parameter node names, who ever has written it there."""
        chosen = self._parameters.device if self._parameters else "auto"
        self._combo.currentIndex = max(0, self._combo.findData(chosen))

    def onDeviceActivated(self, index: int) -> None:
        """The user has picked a device."""
        if self._parameters is not None:
            self._parameters.device = self._combo.itemData(index)
