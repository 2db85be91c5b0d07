"""Gives wrapped labels the height that their text needs at the width they have."""

from __future__ import annotations

import qt


class WrappedLabels(qt.QObject):
    """Keeps the wrapped labels of ``ui`` whole while ``root``, which holds them, is laid out anew.

    Slicer's module panel gives a module no less than its smallest height, for which Qt takes a
    wrapped label as if it were as wide as it likes to be: in a narrow panel lines would be cut.
    """

    def __init__(self, root, ui) -> None:
        qt.QObject.__init__(self)
        self._labels = [
            widget for widget in vars(ui).values() if getattr(widget, "wordWrap", False) is True
        ]
        self._fitted: dict = {}
        self._isDue = False
        root.installEventFilter(self)

    def eventFilter(self, watched, event) -> bool:
        """Told of each event of ``root`` before it; keeps none from it."""
        if event.type() in (qt.QEvent.Resize, qt.QEvent.LayoutRequest) and not self._isDue:
            # The labels get their widths only after this event.
            self._isDue = True
            qt.QTimer.singleShot(0, self.fit)
        return False

    def fit(self) -> None:
        """Set the smallest height of each label that is seen."""
        self._isDue = False
        for label in self._labels:
            shown = (label.text, label.width)
            if label.visible and self._fitted.get(label) != shown:
                self._fitted[label] = shown
                # A label never asks for less than its smallest height.
                label.minimumHeight = 0
                label.minimumHeight = label.heightForWidth(label.width) if label.text else 0
