"""What a registration has found, as transform nodes: they must do what was found, bent or not."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
sitk = pytest.importorskip("SimpleITK")

from MedFusionLib.slicer_app.scene.found_transforms import showRegistration  # noqa: E402
from MedFusionLib.slicer_app.scene.judged_transforms import recordVerdict, verdictFor  # noqa: E402
from MedFusionLib.slicer_app.scene.scene_facts import betweenNodes  # noqa: E402

LINEAR = sitk.Euler3DTransform((0, 0, 0), 0.1, -0.05, 0.2, (3.0, -2.0, 5.0))
REPORT = {
    "transform": {"kind": "deformable", "matrix": None},
    "registration": {"quality": {"verdict": "pass", "reason": "It was bent by up to 3.0 mm."}},
}


def bent() -> sitk.Transform:
    """A displacement field on an oblique grid, and the linear transform after it."""
    k, j, i = np.indices((14, 15, 16))
    fading = np.sin(np.pi * i / 15) * np.sin(np.pi * j / 14) * np.sin(np.pi * k / 13)
    field = sitk.GetImageFromArray(fading[..., None] * [3.0, -2.0, 1.0], isVector=True)
    field.SetSpacing((3.0, 3.5, 4.0))
    field.SetDirection(sitk.Euler3DTransform((0, 0, 0), 0.2, 0.1, -0.3).GetMatrix())
    field.SetOrigin((-25.0, -20.0, -22.0))
    return sitk.CompositeTransform([LINEAR, sitk.DisplacementFieldTransform(field)])


@pytest.fixture
def pair(scene):
    voxels = np.zeros((20, 20, 20), np.int16)
    geometry = np.diag([2.0, 2.0, 2.0, 1.0])
    geometry[:3, 3] = -20
    nodes = [slicer.util.addVolumeFromArray(voxels, geometry, name) for name in ("T1", "EPI")]
    patient = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Patient")
    values = np.eye(4)
    values[:3, 3] = (50, 60, 70)
    patient.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(values))
    nodes[0].SetAndObserveTransformNodeID(patient.GetID())
    return nodes


def test_a_bent_registration_becomes_two_nodes_that_do_what_was_found(scene, pair):
    found = bent()
    node = showRegistration(found, *pair)
    grid = node.GetParentTransformNode()
    assert node.IsA("vtkMRMLLinearTransformNode") and grid.IsA("vtkMRMLGridTransformNode")
    assert grid.GetName() == "EPI bent to T1"
    assert grid.GetParentTransformNode() is pair[0].GetParentTransformNode()
    again = betweenNodes(*pair, transformNode=node)
    for point in np.random.default_rng(0).uniform(-17, 17, (20, 3)).tolist():
        assert again.TransformPoint(point) == pytest.approx(found.TransformPoint(point), abs=0.1)
    assert showRegistration(found, *pair) is node
    assert node.GetParentTransformNode() is grid, "updated, not made again"


def test_taken_out_of_the_grid_the_rigid_step_is_left(scene, pair):
    node = showRegistration(bent(), *pair)
    node.SetAndObserveTransformNodeID(pair[0].GetTransformNodeID())
    again = betweenNodes(*pair, transformNode=node)
    for point in ((0.0, 0.0, 0.0), (12.0, -9.0, 4.0)):
        assert again.TransformPoint(point) == pytest.approx(LINEAR.TransformPoint(point), abs=1e-9)
    assert showRegistration(LINEAR, *pair) is node


def test_the_verdict_on_a_bent_registration_ends_with_any_change_of_it(scene, pair):
    node = showRegistration(bent(), *pair)
    recordVerdict(node, REPORT, *pair)
    assert verdictFor(node, REPORT, *pair)["verdict"] == "pass"
    grid = node.GetParentTransformNode()
    node.SetAndObserveTransformNodeID(pair[0].GetTransformNodeID())
    assert verdictFor(node, REPORT, *pair) is None
    node.SetAndObserveTransformNodeID(grid.GetID())
    assert verdictFor(node, REPORT, *pair) is not None
    displacements = slicer.util.arrayFromGridTransform(grid)
    displacements *= 1.1
    slicer.util.arrayFromGridTransformModified(grid)
    assert verdictFor(node, REPORT, *pair) is None
