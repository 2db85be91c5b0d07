"""Slicer's slice and 3D views: comparing, blending, navigating, previewing."""
