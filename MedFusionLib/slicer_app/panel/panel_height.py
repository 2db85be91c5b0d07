"""Gives the panel the height that its wrapped labels need at the width they have."""

from __future__ import annotations

import qt


class PanelHeight(qt.QObject):
    """Keeps ``root`` as high as its layout asks for at its width, whenever it is laid out anew.

    Slicer's module panel gives a module no more than its smallest height, for which Qt counts a
    line or two of a wrapped label, however narrow it is: lines would be cut, or lie over others.
    """

    def __init__(self, root) -> None:
        qt.QObject.__init__(self)
        self._root = root
        self._isDue = False
        root.installEventFilter(self)

    def eventFilter(self, watched, event) -> bool:
        """Told of each event of ``root`` before it; keeps none from it."""
        if event.type() in (qt.QEvent.Resize, qt.QEvent.LayoutRequest) and not self._isDue:
            # What lies in the panel gets its widths only after this event.
            self._isDue = True
            qt.QTimer.singleShot(0, self.fit)
        return False

    def stop(self) -> None:
        """Let go of the panel, which is about to be destroyed."""
        if self._root is not None:
            self._root.removeEventFilter(self)
            self._root = None

    def fit(self) -> None:
        """Set the smallest height."""
        self._isDue = False
        if self._root is None:
            return
        needed = max(0, self._root.heightForWidth(self._root.width))
        if needed != self._root.minimumHeight:
            self._root.minimumHeight = needed
