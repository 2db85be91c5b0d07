"""What a registration has found, as transform nodes: they must do what was found, bent or not."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
sitk = pytest.importorskip("SimpleITK")

from MedFusionLib.errors import InputError  # noqa: E402
from MedFusionLib.slicer_app.running.child_process import SubprocessChild  # noqa: E402
from MedFusionLib.slicer_app.running.fusion_job import FusionJob, FusionRequest  # noqa: E402
from MedFusionLib.slicer_app.running.worker_client import WorkerClient, workerCommand  # noqa: E402
from MedFusionLib.slicer_app.scene.found_transforms import showRegistration  # noqa: E402
from MedFusionLib.slicer_app.scene.judged_transforms import recordVerdict, verdictFor  # noqa: E402
from MedFusionLib.slicer_app.scene.mrml import addVolumeNode  # noqa: E402
from MedFusionLib.slicer_app.scene.scene_facts import betweenNodes  # noqa: E402
from MedFusionLib.volumes.files import read_volume  # noqa: E402
from MedFusionLib.volumes.volume import Volume  # noqa: E402

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


def test_a_rigid_run_after_a_bent_one_takes_the_grid_out_of_the_scene(scene, pair):
    node = showRegistration(bent(), *pair)
    grid = node.GetParentTransformNode()
    assert showRegistration(LINEAR, *pair) is node
    assert not scene.IsNodePresent(grid)
    assert node.GetParentTransformNode() is pair[0].GetParentTransformNode()
    again = betweenNodes(*pair, transformNode=node)
    for point in ((0.0, 0.0, 0.0), (12.0, -9.0, 4.0)):
        assert again.TransformPoint(point) == pytest.approx(LINEAR.TransformPoint(point), abs=1e-9)


def test_a_grid_under_which_the_user_has_put_something_stays(scene, pair):
    node = showRegistration(bent(), *pair)
    grid = node.GetParentTransformNode()
    pair[1].SetAndObserveTransformNodeID(grid.GetID())
    showRegistration(LINEAR, *pair)
    assert pair[1].GetParentTransformNode() is grid
    other = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4), np.int16), name="CT")
    showRegistration(LINEAR, pair[0], other)
    assert scene.IsNodePresent(grid), "of another pair"


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


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client = WorkerClient(SubprocessChild, workerCommand())
    yield client
    client.close()


def deformed(client, scene, repository) -> FusionJob:
    """The sample pair, thinned, with a PET that is bent by 9 mm at one place."""
    folder = repository / "MedFusionLib" / "sample_data"
    mr, pet = (read_volume(folder / f"Sample_{name}.nrrd") for name in ("MR_T1", "FDG_PET"))
    grid = np.indices(pet.grid_shape) * np.reshape(pet.spacing[::-1], (3, 1, 1, 1))
    place = np.reshape([0.5, 0.75, 0.5], (3, 1, 1, 1)) * grid.max(axis=(1, 2, 3), keepdims=True)
    along = 9.0 * np.exp(-np.sum((grid - place) ** 2, axis=0) / (2 * 35.0**2))
    field = sitk.GetImageFromArray(along[..., None] * [0.0, 1.0, 0.0], isVector=True)
    field.SetSpacing(pet.spacing)
    image = sitk.GetImageFromArray(pet.voxels.astype(np.float32))
    image.SetSpacing(pet.spacing)
    bent = sitk.Resample(image, image, sitk.DisplacementFieldTransform(field))
    voxels = sitk.GetArrayFromImage(bent).astype(pet.voxels.dtype)
    other = Volume(voxels, pet.spacing, pet.origin, pet.directions, "PET")
    thinned = Volume(mr.voxels[::3, ::3, ::3], (3.0, 3.0, 3.0), mr.origin, mr.directions, "MR")
    nodes = addVolumeNode(scene, thinned, "T1"), addVolumeNode(scene, other, "PET")
    options = {"device": "cpu"}
    request = FusionRequest(*nodes, None, "average", "deformable", options=options)
    return FusionJob(client, request)


@pytest.mark.skipif(find_spec("convexAdam") is not None, reason="convexAdam is installed")
def test_without_convexadam_the_worker_refuses_to_bend(client, scene, repository):
    with pytest.raises(InputError, match="needs the package convexAdam"):
        deformed(client, scene, repository).wait()
    assert slicer.util.getNodesByClass("vtkMRMLTransformNode", scene) == []


@pytest.mark.skipif(find_spec("convexAdam") is None, reason="needs convexAdam")
def test_a_bent_run_through_its_nodes_gives_the_same_volume_and_verdict(client, scene, repository):
    job = deformed(client, scene, repository)
    fused = job.wait()
    assert "was bent by up to" in job.report["registration"]["quality"]["reason"]
    values = slicer.util.arrayFromVolume(fused).astype(int)
    found = fused.GetNodeReference("MedFusion.Transform")
    assert found.GetParentTransformNode().IsA("vtkMRMLGridTransformNode")
    nodes = job.request.referenceNode, job.request.otherNode
    again = FusionJob(
        client, FusionRequest(*nodes, fused, "average", transformNode=found, options={})
    )
    again.wait()
    assert np.abs(slicer.util.arrayFromVolume(fused).astype(int) - values).max() <= 12
    quality = job.report["registration"]["quality"]
    assert again.report["registered_before"]["reason"] == quality["reason"]
