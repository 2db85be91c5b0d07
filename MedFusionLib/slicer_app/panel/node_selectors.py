"""Lets the keyboard reach Slicer's node selectors."""

from __future__ import annotations

import qt


def letKeyboardReach(selector) -> None:
    """Give the list inside a ``qMRMLNodeComboBox`` the focus that the selector is given.

    Slicer passes it the other way, from the list to the selector, which takes no key: neither Tab
    nor a caption's letter leads anywhere then.
    """
    for child in selector.children():
        if child.inherits("QComboBox"):
            child.setFocusProxy(None)
            selector.setFocusProxy(child)
            selector.setFocusPolicy(qt.Qt.StrongFocus)
