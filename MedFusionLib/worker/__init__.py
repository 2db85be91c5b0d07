"""The child process that fuses for Slicer's panel."""
