"""A MRML scene as Slicer has it at start, without the application, and a worker as in Slicer."""

from __future__ import annotations

import tempfile

import pytest
import slicer

from MedFusionLib.slicer_app.running.child_process import SubprocessChild
from MedFusionLib.slicer_app.running.worker_client import WorkerClient, workerCommand


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


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """One worker for all tests of a file, as in Slicer; its folder must be gone in the end."""
    folder = tmp_path_factory.mktemp("exchange")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        client = WorkerClient(SubprocessChild, workerCommand())
        yield client
        client.close()
    assert list(folder.iterdir()) == []
