"""Scrolls the panel so that a result is seen beside the button that made it."""

from __future__ import annotations

import qt


def bringIntoSight(widget, button) -> None:
    """Scroll the panel down to ``widget`` as far as ``button``, which is above it, stays in sight.

    Nothing moves where the button is out of sight: its user looks at something else.
    """
    area = _scrollArea(widget)
    if area is None or not _isInSight(button, area):
        return
    view = area.viewport()
    below = widget.mapTo(view, qt.QPoint(0, widget.height)).y() - view.height
    above = button.mapTo(view, qt.QPoint(0, 0)).y()
    bar = area.verticalScrollBar()
    bar.value = bar.value + max(0, min(below, above))


def _scrollArea(widget):
    while widget is not None and not widget.inherits("QScrollArea"):
        widget = widget.parent()
    return widget


def _isInSight(widget, area) -> bool:
    top = widget.mapTo(area.viewport(), qt.QPoint(0, 0)).y()
    return 0 <= top <= area.viewport().height - widget.height
