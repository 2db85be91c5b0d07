"""A fused volume in the 3D view, with the real logic of Slicer's Volume Rendering module."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from MedFusionLib.slicer_app.scene.mrml import addVolumeNode  # noqa: E402
from MedFusionLib.slicer_app.views.volume_rendering import VolumeIn3D  # noqa: E402
from MedFusionLib.volumes.volume import Volume  # noqa: E402


@pytest.fixture
def logic(scene, monkeypatch):
    logic, application = slicer.vtkSlicerVolumeRenderingLogic(), slicer.vtkMRMLApplicationLogic()
    application.SetMRMLScene(scene)
    logic.SetDefaultRenderingMethod("vtkMRMLCPURayCastVolumeRenderingDisplayNode")
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    # The module's own presets lie in Slicer's share folder, and it crashes without this one.
    preset = slicer.vtkMRMLVolumePropertyNode()
    preset.SetName("US-Fetal")
    logic.AddPreset(preset)
    module = SimpleNamespace(logic=lambda: logic)
    modules = SimpleNamespace(volumerendering=module)
    monkeypatch.setattr(slicer, "modules", modules, raising=False)
    return logic


def fusedNode(scene, shape, dtype):
    voxels = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    directions = tuple(np.eye(3).ravel().tolist())
    return addVolumeNode(scene, Volume(voxels, (1.0,) * 3, (0.0,) * 3, directions), "Fused")


@pytest.mark.parametrize(
    ("shape", "dtype", "largest"), [((4, 5, 6), "uint16", 4095), ((4, 5, 6, 3), "uint8", 255)]
)
def test_a_fused_volume_is_clear_where_it_is_dark(scene, logic, shape, dtype, largest):
    node = fusedNode(scene, shape, dtype)
    VolumeIn3D().show(node)
    displayNode = logic.GetFirstVolumeRenderingDisplayNode(node)
    opacity = displayNode.GetVolumePropertyNode().GetScalarOpacity()
    assert displayNode.GetVisibility()
    assert opacity.GetValue(0.1 * largest) == 0
    assert 0 < opacity.GetValue(0.5 * largest) < opacity.GetValue(largest) < 1


def test_one_volume_is_shown_at_a_time_and_keeps_what_the_user_set(scene, logic):
    first, second = (fusedNode(scene, (4, 5, 6), "uint16") for _ in range(2))
    shown = VolumeIn3D()
    shown.show(first)
    opacity = logic.GetFirstVolumeRenderingDisplayNode(first).GetVolumePropertyNode()
    opacity.GetScalarOpacity().AddPoint(4095, 0.25)
    shown.show(second)
    shown.show(first)
    visible = [
        bool(logic.GetFirstVolumeRenderingDisplayNode(node).GetVisibility())
        for node in (first, second)
    ]
    assert visible == [True, False]
    assert opacity.GetScalarOpacity().GetValue(4095) == 0.25
    shown.show(None)
    assert not logic.GetFirstVolumeRenderingDisplayNode(first).GetVisibility()


def test_without_the_module_nothing_is_shown_and_nothing_fails(scene):
    node = fusedNode(scene, (4, 5, 6), "uint16")
    count = scene.GetNumberOfNodes()
    VolumeIn3D().show(node)
    assert scene.GetNumberOfNodes() == count
