"""A MRML scene as Slicer has it at start, without the application."""

from __future__ import annotations

import pytest
import slicer


@pytest.fixture
def scene():
    """Empty scene with the colour nodes and the subject hierarchy that Slicer always has."""
    scene = slicer.vtkMRMLScene()
    slicer.mrmlScene = scene
    logic = slicer.vtkMRMLColorLogic()
    logic.SetMRMLScene(scene)
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    yield scene
    scene.Clear(True)
