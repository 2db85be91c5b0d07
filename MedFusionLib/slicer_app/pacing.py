"""How much is done in one go while Slicer's interface waits for it."""

BYTES_PER_STEP = 8_000_000
"""Voxels are written in pieces of this size (5 ms; 30 ms where other programs take the memory's
bandwidth), so that the interface stays alive."""
