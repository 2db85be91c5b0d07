"""``_`` marks a text of the panel for translation.

Inside Slicer it is Slicer's own function, which finds the context by looking at its caller's file;
so it must be imported under this name and called directly. Outside Slicer texts stay as they are.
"""

from __future__ import annotations

try:
    from slicer.i18n import tr as _
except ImportError:

    def _(text: str) -> str:
        """The text itself, where there is no translation."""
        return text


__all__ = ["_"]
