"""Nodes of a real MRML scene through the real worker process and back."""

from __future__ import annotations

import numpy as np
import pytest
import vtk

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from MedFusionLib.errors import Cancelled, InputError  # noqa: E402
from MedFusionLib.methods import METHODS, PREVIEW_METHOD  # noqa: E402
from MedFusionLib.registration.overlap import NO_OVERLAP, OTHER_GRID, SAME_GRID  # noqa: E402
from MedFusionLib.slicer_app.panel.statements import Shown, resultStatements  # noqa: E402
from MedFusionLib.slicer_app.running.fusion_job import (  # noqa: E402
    FusionJob,
    FusionRequest,
    requestFor,
)
from MedFusionLib.slicer_app.scene.found_transforms import (  # noqa: E402
    otherToReferenceRas,
    showRegistration,
)
from MedFusionLib.slicer_app.scene.geometry import RAS_LPS_FLIP  # noqa: E402
from MedFusionLib.slicer_app.scene.mrml import addVolumeNode, fuseNodes  # noqa: E402
from MedFusionLib.slicer_app.scene.quality_nodes import reportOf  # noqa: E402
from MedFusionLib.slicer_app.scene.scene_facts import betweenNodes, relation, volumeFacts  # noqa: E402
from MedFusionLib.slicer_app.views import slice_preview  # noqa: E402
from MedFusionLib.slicer_app.views.slice_preview import SlicePreview, viewedSlice  # noqa: E402
from MedFusionLib.volumes.files import read_volume  # noqa: E402
from MedFusionLib.volumes.volume import Volume  # noqa: E402


def smooth(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    k, j, i = np.indices((10, 20, 24))
    waves = sum(
        np.sin(generator.uniform(0.1, 0.5) * axis + generator.uniform(0, 6)) for axis in (k, j, i)
    )
    return (200 * waves + 600).astype(np.int16)


def matrix(translation, degrees: float = 0.0) -> np.ndarray:
    transform = vtk.vtkTransform()
    transform.Translate(*translation)
    transform.RotateZ(degrees)
    return slicer.util.arrayFromVTKMatrix(transform.GetMatrix())


@pytest.fixture
def pair(scene):
    """A reference and an other volume of the scene, both under one patient registration."""
    geometry = matrix((-10, -8, 3), 15) @ np.diag([1.0, 1.0, 2.0, 1.0])
    reference = slicer.util.addVolumeFromArray(smooth(1), geometry, "T1")
    other = slicer.util.addVolumeFromArray(smooth(2), geometry, "CT head")
    patient = addTransform(scene, matrix((50, 60, 70), 30), "PatientRegistration")
    for node in (reference, other):
        node.SetAndObserveTransformNodeID(patient.GetID())
    return reference, other


def addTransform(scene, values, name):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(values))
    return node


def request(pair, **more) -> FusionRequest:
    options = {"device": "cpu", "plane": "axial", "colour": "auto"}
    return FusionRequest(*pair, method="average", options=options, **more)


def finish(client, job):
    return job.wait()


def test_the_fused_node_has_the_references_grid_and_parent_transform(client, pair):
    fused = finish(client, FusionJob(client, request(pair, windows=("0:1200", "0:1200"))))
    for getMatrix in ("GetIJKToRASMatrix", "GetRASToIJKMatrix"):
        ours, reference = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
        getattr(fused, getMatrix)(ours)
        getattr(pair[0], getMatrix)(reference)
        np.testing.assert_array_equal(
            slicer.util.arrayFromVTKMatrix(ours), slicer.util.arrayFromVTKMatrix(reference)
        )
    assert fused.GetParentTransformNode() is pair[0].GetParentTransformNode()
    mean = sum(slicer.util.arrayFromVolume(node).clip(0, 1200) for node in pair) / 2
    np.testing.assert_allclose(slicer.util.arrayFromVolume(fused), mean / 1200 * 4095, atol=0.51)


def test_a_second_run_updates_the_same_node(client, pair, scene):
    fused = finish(client, FusionJob(client, request(pair)))
    count = scene.GetNumberOfNodes()
    again = finish(client, FusionJob(client, request(pair, outputNode=fused)))
    assert again is fused
    assert scene.GetNumberOfNodes() == count


def test_a_volume_that_changes_while_it_is_handed_over_is_refused(client, pair, scene):
    count = scene.GetNumberOfNodes()
    job = FusionJob(client, request(pair))
    slicer.util.updateVolumeFromArray(pair[1], smooth(3))
    with pytest.raises(InputError, match="was changed while"):
        finish(client, job)
    assert scene.GetNumberOfNodes() == count
    assert finish(client, FusionJob(client, request(pair))) is not None


def test_a_cancelled_run_leaves_the_scene_as_it_was(client, pair, scene):
    count, errors = scene.GetNumberOfNodes(), []
    job = FusionJob(client, request(pair), onError=errors.append)
    job.cancel()
    with pytest.raises(Cancelled):
        finish(client, job)
    assert scene.GetNumberOfNodes() == count
    assert len(errors) == 1
    assert not job.running


def test_a_volume_that_is_removed_during_the_run_is_told(client, pair, scene):
    errors = []
    job = FusionJob(client, request(pair), onError=errors.append)
    scene.RemoveNode(pair[1])
    assert not job.running
    with pytest.raises(InputError, match="'CT head' was removed during the fusion"):
        finish(client, job)
    assert len(errors) == 1


def test_a_transform_that_is_removed_during_the_run_ends_it_at_once(client, pair, scene):
    shift = addTransform(scene, matrix((4, -3, 2), 10), "Registration")
    done = []
    job = FusionJob(client, request(pair, transformNode=shift), onDone=lambda *_: done.append(1))
    scene.RemoveNode(shift)
    assert not job.running
    assert "'Registration' was removed" in str(job.error)
    finish(client, FusionJob(client, request(pair)))
    assert done == []
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene)) == 3


def test_what_cannot_be_fused_is_refused_with_a_sentence(pair, scene):
    reference, other = pair
    with pytest.raises(InputError, match="None is no volume"):
        requestFor(None, other)
    with pytest.raises(InputError, match="No volume of the scene has the name 'T7'"):
        requestFor("T7", other)
    with pytest.raises(InputError, match="both 'T1'"):
        requestFor(reference, reference)
    with pytest.raises(InputError, match=r"no option 'colour_map'\. The options are.*plane"):
        requestFor(reference, other, colour_map="hot")
    with pytest.raises(InputError, match="3 is no volume"):
        requestFor(reference, other, 3)
    for wrong, words in ((reference, "'T1' is no transform"), ("x", "'x' is no transform")):
        with pytest.raises(InputError, match=words):
            requestFor(reference, other, transformNode=wrong)
    scene.RemoveNode(other)
    with pytest.raises(InputError, match="not in the scene any more"):
        requestFor(reference, other)


def test_a_volume_can_be_named_by_its_name_while_only_one_has_it(pair):
    reference, other = pair
    assert requestFor("T1", "CT head", plane="axial").otherNode is other
    other.SetName("T1")
    with pytest.raises(InputError, match="2 volumes of the scene have the name 'T1'"):
        requestFor("T1", other)
    assert requestFor(reference, other).referenceNode is reference


def test_a_run_never_begins_to_write_into_a_volume_of_others(client, pair, scene):
    original = slicer.util.addVolumeFromArray(smooth(5), name="Another patient")
    voxels = slicer.util.arrayFromVolume(original).copy()
    with pytest.raises(InputError, match="was not made by MedFusion"):
        FusionJob(client, request(pair, outputNode=original))
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(original), voxels)


def test_an_output_that_is_removed_during_the_run_is_made_anew(client, pair, scene):
    fused = finish(client, FusionJob(client, request(pair)))
    job = FusionJob(client, request(pair, outputNode=fused))
    scene.RemoveNode(fused)
    again = finish(client, job)
    assert again is not fused
    assert again.GetScene() is scene


def test_the_window_on_the_screen_can_be_used(client, pair):
    display = pair[0].GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(300.0, 500.0)
    job = FusionJob(client, request(pair, windows=("displayed", None)))
    finish(client, job)
    assert job.report["reference"]["window"] == {"name": "given", "low": 350.0, "high": 650.0}


def test_a_chosen_transform_counts_as_if_it_were_applied_to_the_other_volume(client, pair, scene):
    reference, other = pair
    shift = addTransform(scene, matrix((4, -3, 2), 10), "Registration")
    shift.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
    chosen = finish(client, FusionJob(client, request(pair, transformNode=shift)))
    values = slicer.util.arrayFromVolume(chosen).copy()
    other.SetAndObserveTransformNodeID(shift.GetID())
    applied = finish(client, FusionJob(client, request(pair)))
    np.testing.assert_array_equal(values, slicer.util.arrayFromVolume(applied))
    assert chosen.GetNodeReference("MedFusion.Transform") is shift


def test_a_found_registration_becomes_a_node_that_does_what_was_found(scene, pair):
    import SimpleITK as sitk

    found = sitk.Euler3DTransform((0, 0, 0), 0.1, -0.05, 0.2, (3.0, -2.0, 5.0))
    node = showRegistration(found, *pair)
    assert node.GetParentTransformNode() is pair[0].GetParentTransformNode()
    again = betweenNodes(*pair, transformNode=node)
    for point in ((0.0, 0.0, 0.0), (40.0, -20.0, 10.0)):
        assert again.TransformPoint(point) == pytest.approx(found.TransformPoint(point), abs=1e-9)
    assert showRegistration(found, *pair) is node


def test_a_registration_starts_from_where_the_parent_transforms_put_the_volumes(
    client, scene, repository
):
    """The PET lies turned by 160° in its file and its parent brings it nearly back, so that only
    a registration from there can find the place, from the panel's worker and from the console."""
    import SimpleITK as sitk

    folder = repository / "MedFusionLib" / "sample_data"
    mr, pet = (read_volume(folder / f"Sample_{name}.nrrd") for name in ("MR_T1", "FDG_PET"))
    away = matrix((120, -80, 40), 160)
    placed = away @ pet.affine_lps
    turned = Volume(
        pet.voxels,
        pet.spacing,
        tuple(placed[:3, 3].tolist()),
        tuple((placed[:3, :3] / pet.spacing).ravel().tolist()),
        "PET",
    )
    thinned = Volume(mr.voxels[::3, ::3, ::3], (3.0, 3.0, 3.0), mr.origin, mr.directions, "MR")
    pair = addVolumeNode(scene, thinned, "T1"), addVolumeNode(scene, turned, "PET")
    back = matrix((4, -3, 2), 3) @ np.linalg.inv(away)
    parent = addTransform(scene, RAS_LPS_FLIP @ back @ RAS_LPS_FLIP, "Placed by hand")
    pair[1].SetAndObserveTransformNodeID(parent.GetID())
    job = FusionJob(client, request(pair, alignment="rigid", modalities=("MR", "PET")))
    fused = finish(client, job)
    _, report = fuseNodes(
        *pair, alignment="rigid", modalities=("MR", "PET"), method="average", device="cpu"
    )
    assert job.report["registration"] == report["registration"]
    true = sitk.ReadTransform(str(folder / "true_transform.tfm"))
    found = betweenNodes(*pair, transformNode=fused.GetNodeReference("MedFusion.Transform"))
    for corner in np.ndindex(2, 2, 2):
        point = mr.affine_lps @ [*(np.array(corner) * np.array(mr.grid_shape[::-1])), 1.0]
        expected = away @ [*true.TransformPoint(point[:3].tolist()), 1.0]
        assert found.TransformPoint(point[:3].tolist()) == pytest.approx(expected[:3], abs=1.5)
    _the_verdict_goes_with_the_transform_until_it_is_changed(
        client, pair, fused.GetNodeReference("MedFusion.Transform"), report
    )


def _the_verdict_goes_with_the_transform_until_it_is_changed(client, pair, found, report):
    again = FusionJob(client, request(pair, transformNode=found, modalities=("MR", "PET")))
    fused = finish(client, again)
    quality = report["registration"]["quality"]
    assert again.report["registered_before"] == {key: quality[key] for key in ("verdict", "reason")}
    (_, sentence, *_) = resultStatements(Shown("F", reportOf(fused), "T1", "PET", "Found"))
    assert quality["reason"][1:] in sentence.text
    values = slicer.util.arrayFromVTKMatrix(found.GetMatrixTransformToParent())
    values[0, 3] += 1.0
    found.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(values))
    changed = FusionJob(client, request(pair, transformNode=found, modalities=("MR", "PET")))
    finish(client, changed)
    assert "registered_before" not in changed.report


def test_the_matrix_of_a_shift_points_from_the_other_to_the_reference():
    import SimpleITK as sitk

    # Reference to other is 10 mm to the left in LPS, so the other moves 10 mm to the right,
    # which is +10 along R in RAS.
    values = otherToReferenceRas(sitk.TranslationTransform(3, (10.0, 0.0, 0.0)))
    np.testing.assert_allclose(values, matrix((10, 0, 0)), atol=1e-12)


def test_the_relation_of_two_nodes_counts_their_parents(scene, pair):
    reference, other = pair
    assert relation(reference, other).kind == SAME_GRID
    other.SetAndObserveTransformNodeID(addTransform(scene, matrix((55, 60, 70), 30), "A").GetID())
    assert relation(reference, other).kind == OTHER_GRID
    other.SetAndObserveTransformNodeID(addTransform(scene, matrix((999, 0, 0)), "B").GetID())
    assert relation(reference, other).kind == NO_OVERLAP
    assert relation(reference, other, reference.GetParentTransformNode()).kind == SAME_GRID
    assert relation(reference, None) is None


def test_the_relation_under_a_bent_transform_comes_from_the_boxes(scene, pair):
    reference, other = pair
    bend = scene.AddNewNodeByClass("vtkMRMLTransformNode", "Bend")
    spline = vtk.vtkThinPlateSplineTransform()
    points = vtk.vtkPoints()
    for corner in np.ndindex(2, 2, 2):
        points.InsertNextPoint(*(200.0 * np.array(corner) - 50))
    moved = vtk.vtkPoints()
    moved.DeepCopy(points)
    moved.SetPoint(0, -60, -40, -50)
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(moved)
    spline.SetBasisToR()
    bend.SetAndObserveTransformToParent(spline)
    reference.SetAndObserveTransformNodeID(None)
    other.SetAndObserveTransformNodeID(bend.GetID())
    found = relation(reference, other)
    assert found.kind == OTHER_GRID
    assert found.fraction > 0.3


def test_facts_of_a_node_cost_no_copy_and_tell_the_modality(pair):
    facts = volumeFacts(pair[1], None)
    assert (facts.name, facts.modality, facts.modalitySource) == ("CT head", "CT", "guess")
    assert volumeFacts(pair[1], "PET").modality == "PET"
    assert volumeFacts(None, None) is None


@pytest.fixture
def view(scene):
    """The red slice view's nodes."""
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    sliceNode = scene.CreateNodeByClass("vtkMRMLSliceNode")
    sliceNode.UnRegister(None)
    sliceNode.SetLayoutName("Red")
    sliceNode = scene.AddNode(sliceNode)
    sliceNode.SetOrientation("Axial")
    return sliceNode, scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")


def test_the_viewed_slice_does_not_depend_on_panning(pair, view):
    reference = pair[0]
    # 8 mm above the first slice, which the patient registration has lifted from 3 to 73 mm.
    view[0].SetSliceOffset(81.0)
    plane, point = viewedSlice(view[0], reference)
    assert plane == "axial"
    assert point[2] == pytest.approx(11.0)
    view[0].GetSliceToRAS().SetElement(0, 3, 500.0)
    assert viewedSlice(view[0], reference)[1] == pytest.approx(point)


def test_the_preview_shows_the_slices_of_the_whole_fusion(client, pair, view, scene):
    fused = slicer.util.arrayFromVolume(finish(client, FusionJob(client, request(pair)))).copy()
    sliceNode, compositeNode = view
    compositeNode.SetForegroundVolumeID(pair[1].GetID())
    compositeNode.SetForegroundOpacity(0.3)
    count, shown = scene.GetNumberOfNodes(), []
    preview = SlicePreview(
        client, lambda *told: shown.append(told), lambda error: pytest.fail(str(error))
    )
    sliceNode.SetSliceOffset(81.0)
    preview.start(request(pair), sliceNode, compositeNode, live=True)
    waitFor(client, lambda: len(shown) == 1)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(preview.layerNode)[0], fused[4])
    assert compositeNode.GetForegroundVolumeID() == preview.layerNode.GetID()
    for offset in (83.0, 85.0, 87.0, 89.0):
        sliceNode.SetSliceOffset(offset)
    waitFor(client, lambda: preview._job is None)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(preview.layerNode)[0], fused[8])
    assert len(shown) <= 3
    preview.stop()
    assert scene.GetNumberOfNodes() == count
    assert compositeNode.GetForegroundVolumeID() == pair[1].GetID()
    assert compositeNode.GetForegroundOpacity() == pytest.approx(0.3)
    sliceNode.SetSliceOffset(79.0)
    client.processEvents(0.2)
    assert scene.GetNumberOfNodes() == count


def test_a_live_preview_goes_on_with_a_quick_method_where_the_chosen_one_is_slow(
    client, pair, view, monkeypatch
):
    monkeypatch.setattr(slice_preview, "SECONDS_TO_FOLLOW", 0.0)
    shown = []
    preview = SlicePreview(client, lambda *told: shown.append(told[2]), fail)
    view[0].SetSliceOffset(81.0)
    preview.start(request(pair), *view, live=False)
    waitFor(client, lambda: preview._job is None)
    preview.start(request(pair), *view, live=True)
    waitFor(client, lambda: len(shown) == 3)
    view[0].SetSliceOffset(83.0)
    waitFor(client, lambda: len(shown) == 4)
    assert shown == ["average", "average", PREVIEW_METHOD, PREVIEW_METHOD]
    assert METHODS[PREVIEW_METHOD].parameters < 1_000_000
    preview.stop()


def test_a_slice_that_arrives_after_the_preview_was_stopped_is_dropped(client, pair, view, scene):
    count = scene.GetNumberOfNodes()
    view[0].SetSliceOffset(81.0)
    preview = SlicePreview(client, lambda *told: pytest.fail("shown"), lambda error: None)
    preview.start(request(pair), *view, live=False)
    job = preview._job
    preview.stop()
    client.wait(job)
    assert scene.GetNumberOfNodes() == count


def fail(error) -> None:
    pytest.fail(str(error))


def waitFor(client, condition) -> None:
    for _ in range(600):
        if condition():
            return
        client.processEvents(0.05)
    raise AssertionError("waited 30 s in vain")
