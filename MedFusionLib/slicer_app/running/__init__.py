"""Fusing in a process of its own while Slicer stays alive."""
