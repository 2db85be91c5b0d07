"""Volumes as stacks of slices: planes, intensity windows and colours."""
