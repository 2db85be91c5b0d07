"""Points that a user places on both volumes of a scene: where they lie, what is refused, and what
a registration makes of them through the real worker process."""

from __future__ import annotations

import numpy as np
import pytest
import vtk

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from MedFusionLib.errors import GeometryError, InputError  # noqa: E402
from MedFusionLib.slicer_app.running.fusion_job import FusionJob, FusionRequest  # noqa: E402
from MedFusionLib.slicer_app.scene.landmark_nodes import (  # noqa: E402
    COLOURS,
    addLandmarkList,
    landmarkMessage,
    landmarkRefusal,
)
from MedFusionLib.slicer_app.scene.mrml import addVolumeNode  # noqa: E402
from MedFusionLib.slicer_app.scene.scene_facts import betweenNodes  # noqa: E402
from MedFusionLib.volumes.files import read_volume  # noqa: E402
from MedFusionLib.volumes.volume import Volume  # noqa: E402

SPOTS = np.array([[0.0, 8.0, 1.0], [9.0, -4.0, 2.0], [-9.0, -5.0, 3.0], [1.0, 2.0, 12.0]])
"""Places in the head (mm); not on a line."""
MISSED = ((1, 0, 0), (0, -1, 0), (0, 0, 1), (-1, 0, 0))
"""The way in which a hand misses each."""


def rigid(translation, degrees: float) -> np.ndarray:
    transform = vtk.vtkTransform()
    transform.Translate(*translation)
    transform.RotateWXYZ(degrees, 0.3, -0.5, 0.8)
    return slicer.util.arrayFromVTKMatrix(transform.GetMatrix())


def addTransform(scene, values, name):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(values))
    return node


def addPoints(scene, points, labels=("1", "2", "3", "4"), parent=None):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Points")
    for point, label in zip(points, labels, strict=False):
        node.AddControlPoint(vtk.vtkVector3d(*point), label)
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


@pytest.fixture
def pair(scene):
    _k, j, i = np.indices((10, 20, 24))
    voxels = [(500 + 200 * np.sin(axis / 4)).astype(np.int16) for axis in (i, j)]
    return [
        slicer.util.addVolumeFromArray(values, name=name)
        for values, name in zip(voxels, ("T1", "CT head"), strict=True)
    ]


def moved(values, points) -> np.ndarray:
    return (np.column_stack([points, np.ones(len(points))]) @ values.T)[:, :3]


def inLps(points) -> list:
    return (points * [-1, -1, 1]).tolist()


def test_points_are_handed_over_in_the_own_space_of_each_volume(scene, pair):
    patient, detached = rigid((50, 60, 70), 30), rigid((-20, 5, 9), -50)
    pair[1].SetAndObserveTransformNodeID(addTransform(scene, patient, "Patient").GetID())
    onReference = addPoints(scene, SPOTS)
    onOther = addPoints(scene, SPOTS, parent=addTransform(scene, detached, "Of the points"))
    message = landmarkMessage(*pair, (onReference, onOther))
    expected = moved(np.linalg.inv(patient) @ detached, SPOTS)
    assert [label for label, _ in message["reference"]] == ["1", "2", "3", "4"]
    np.testing.assert_allclose([p for _, p in message["reference"]], inLps(SPOTS), atol=1e-9)
    np.testing.assert_allclose([p for _, p in message["other"]], inLps(expected), atol=1e-9)


def test_points_follow_a_parent_transform_that_bends_space(scene, pair):
    bend, source, target = vtk.vtkThinPlateSplineTransform(), vtk.vtkPoints(), vtk.vtkPoints()
    for corner in np.ndindex(2, 2, 2):
        place = 40.0 * np.array(corner) - 20
        source.InsertNextPoint(*place)
        target.InsertNextPoint(*(place + np.array([2, -3, 1.5]) * corner[::-1]))
    bend.SetSourceLandmarks(source)
    bend.SetTargetLandmarks(target)
    bend.SetBasisToR()
    parent = scene.AddNewNodeByClass("vtkMRMLTransformNode", "Bend")
    parent.SetAndObserveTransformToParent(bend)
    pair[1].SetAndObserveTransformNodeID(parent.GetID())
    shown = np.array([bend.TransformPoint(spot) for spot in SPOTS])
    message = landmarkMessage(*pair, (addPoints(scene, SPOTS), addPoints(scene, shown)))
    np.testing.assert_allclose([p for _, p in message["other"]], inLps(SPOTS), atol=1e-2)


def test_what_cannot_be_used_is_told_in_a_sentence(scene, pair):
    four, three = addPoints(scene, SPOTS), addPoints(scene, SPOTS[:3])
    line = addPoints(scene, [(10.0 * n, 0, 0) for n in range(4)])
    assert landmarkRefusal(*pair, (None, None)) is None
    assert landmarkRefusal(*pair, (four, addPoints(scene, SPOTS + 1))) is None
    assert "on one volume only" in landmarkRefusal(*pair, (four, None))
    assert "same list" in landmarkRefusal(*pair, (four, four))
    assert "needs 3 or more" in landmarkRefusal(
        *pair, (addPoints(scene, SPOTS[:2]), addPoints(scene, SPOTS[:2]))
    )
    assert "on the reference: 4, on the other volume: 3" in landmarkRefusal(*pair, (four, three))
    assert "on a line" in landmarkRefusal(*pair, (line, four))
    assert "on the reference: 0" in landmarkRefusal(*pair, (addPoints(scene, []), three))
    scene.RemoveNode(three)
    assert "not in the scene" in landmarkRefusal(*pair, (four, three))


def test_a_point_that_is_not_placed_yet_does_not_count(scene, pair):
    waiting = addPoints(scene, SPOTS)
    waiting.UnsetNthControlPointPosition(3)
    assert "on the reference: 4, on the other volume: 3" in landmarkRefusal(
        *pair, (addPoints(scene, SPOTS), waiting)
    )


def test_a_new_list_moves_with_its_volume(scene, pair):
    parent = addTransform(scene, rigid((50, 60, 70), 30), "Patient")
    pair[1].SetAndObserveTransformNodeID(parent.GetID())
    node = addLandmarkList(pair[1], COLOURS[1])
    assert node.GetParentTransformNode() is parent
    assert node.GetName() == "Landmarks on CT head"
    assert addLandmarkList(pair[1], COLOURS[1]).GetName() != node.GetName()


def request(pair, lists, **more) -> FusionRequest:
    options = {"device": "cpu"}
    return FusionRequest(*pair, method="average", options=options, landmarkNodes=lists, **more)


def test_the_distance_is_reported_without_a_registration(client, scene, pair):
    away = SPOTS + np.array([[3, 0, 0], [0, 4, 0], [0, 0, 5], [0, 0, 0]])
    job = FusionJob(client, request(pair, (addPoints(scene, SPOTS), addPoints(scene, away))))
    job.wait()
    told = job.report["landmarks"]
    assert [point["distance_mm"] for point in told["points"]] == pytest.approx([3, 4, 5, 0])
    assert (told["mean_mm"], told["largest_mm"]) == pytest.approx((3, 5))
    assert not any("landmarks" in warning for warning in job.report["warnings"])


def test_a_list_that_is_removed_in_mid_run_ends_it_and_an_emptied_one_is_told(client, scene, pair):
    lists = addPoints(scene, SPOTS), addPoints(scene, SPOTS)
    job = FusionJob(client, request(pair, lists))
    lists[1].RemoveAllControlPoints()
    job.wait()
    assert any("were changed during the run" in warning for warning in job.report["warnings"])
    lists = addPoints(scene, SPOTS), addPoints(scene, SPOTS)
    job = FusionJob(client, request(pair, lists))
    scene.RemoveNode(lists[1])
    assert not job.running
    with pytest.raises(InputError, match="'Points' was removed during the fusion"):
        job.wait()


def test_no_registration_begins_over_a_transform_that_bends_space(client, scene, pair):
    grid = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Bend")
    bend, source, target = vtk.vtkThinPlateSplineTransform(), vtk.vtkPoints(), vtk.vtkPoints()
    for place in SPOTS:
        source.InsertNextPoint(*place)
        target.InsertNextPoint(place[0] + place[1] / 8, place[1], place[2])
    source.InsertNextPoint(0, 0, 0)
    target.InsertNextPoint(0, 1, 0)
    bend.SetSourceLandmarks(source)
    bend.SetTargetLandmarks(target)
    bend.SetBasisToR()
    grid.SetAndObserveTransformToParent(bend)
    pair[1].SetAndObserveTransformNodeID(grid.GetID())
    lists = addPoints(scene, SPOTS), addPoints(scene, SPOTS)
    for chosen in (lists, (None, None)):
        with pytest.raises(GeometryError, match="non-linear transform lies between"):
            FusionJob(client, request(pair, chosen, alignment="rigid"))


def test_a_registration_starts_from_the_points(client, scene, repository):
    """The PET lies turned by 160° in its file; its points, placed 2 mm off, lead to the place."""
    import SimpleITK as sitk

    folder = repository / "MedFusionLib" / "sample_data"
    mr, pet = (read_volume(folder / f"Sample_{name}.nrrd") for name in ("MR_T1", "FDG_PET"))
    true = sitk.ReadTransform(str(folder / "true_transform.tfm"))
    away = rigid((120, -80, 40), 160)
    placed = away @ pet.affine_lps
    directions = placed[:3, :3] / pet.spacing
    turned = Volume(
        pet.voxels,
        pet.spacing,
        tuple(placed[:3, 3].tolist()),
        tuple(directions.ravel().tolist()),
        "PET",
    )
    thinned = Volume(mr.voxels[::3, ::3, ::3], (3.0, 3.0, 3.0), mr.origin, mr.directions, "MR")
    pair = addVolumeNode(scene, thinned, "T1"), addVolumeNode(scene, turned, "PET")
    spots = np.array([[0.0, 80, -5], [65, 0, 0], [-65, -5, -10], [5, -20, 70]])
    there = moved(away, [true.TransformPoint(spot) for spot in inLps(spots)])
    missed = np.array(inLps(there)) + 2.0 * np.array(MISSED)
    lists = addPoints(scene, spots), addPoints(scene, missed)
    job = FusionJob(client, request(pair, lists, alignment="rigid", modalities=("MR", "PET")))
    fused = job.wait()
    found = betweenNodes(*pair, transformNode=fused.GetNodeReference("MedFusion.Transform"))
    for spot, expected in zip(inLps(spots), there, strict=True):
        assert found.TransformPoint(spot) == pytest.approx(expected.tolist(), abs=1.5)
    assert job.report["landmarks"]["mean_mm"] == pytest.approx(2.0, abs=1.0)
