"""Three and more nodes of a real MRML scene through the real worker process and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from MedFusionLib.errors import GeometryError, IdentityError, InputError  # noqa: E402
from MedFusionLib.fusion import fuse  # noqa: E402
from MedFusionLib.slicer_app.running.fusion_job import FusionJob, requestFor  # noqa: E402
from MedFusionLib.slicer_app.scene.dicom_sources import exportRequest  # noqa: E402
from MedFusionLib.slicer_app.scene.mrml import fuseNodes, volumeFromNode  # noqa: E402
from MedFusionLib.slicer_app.scene.provenance import (  # noqa: E402
    furtherTransformsOf,
    pairOf,
    sourcesOf,
)
from MedFusionLib.slicer_app.scene.quality_nodes import keptText, reportOf  # noqa: E402
from MedFusionLib.slicer_app.views import slice_preview  # noqa: E402

NAMES = ("T1", "CT head", "SPECT", "FDG PET")
SETTINGS = {"method": "average", "device": "cpu"}


@pytest.fixture
def nodes(scene):
    """A reference and three more volumes of one grid."""
    generator = np.random.default_rng(5)
    _, j, i = np.indices((8, 20, 24))
    made = []
    for place, name in enumerate(NAMES):
        waves = 200 * np.sin((i + place * j) / (3 + place)) + 400
        voxels = (waves + generator.integers(0, 60, i.shape)).astype(np.int16)
        voxels[:, :3] = 0
        made.append(slicer.util.addVolumeFromArray(voxels, np.diag([1.0, 1, 2, 1]), name))
    return made


def addTransform(scene, shift, name="Found by hand"):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def run(client, *nodes, **options):
    return FusionJob(client, requestFor(*nodes, **{**SETTINGS, **options})).wait()


def inTheLibrary(nodes, **settings):
    return fuse([volumeFromNode(node) for node in nodes], **SETTINGS, **settings)


def test_three_nodes_are_fused_as_the_library_fuses_their_volumes(client, nodes):
    spect = {"node": nodes[2], "window": (0.0, 500.0), "colour": "hot"}
    fused = run(client, *nodes[:2], further=[spect], windows=("full", "full"))
    expected = inTheLibrary(
        nodes[:3],
        window_reference="full",
        window_other=["full", (0.0, 500.0)],
        colour=["auto", "hot"],
    )
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(fused), expected.volume.voxels)


def test_a_node_or_its_name_is_enough_for_a_further_volume(client, nodes):
    by_node, by_name = (run(client, *nodes[:2], further=one) for one in (nodes[2], "SPECT"))
    expected = inTheLibrary(nodes[:3]).volume.voxels
    for fused in (by_node, by_name):
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(fused), expected)


def test_the_fused_node_names_all_that_it_was_made_from(client, nodes, scene):
    transform = addTransform(scene, (1.0, 0, 0))
    nodes[3].SetAndObserveTransformNodeID(transform.GetID())
    fused = run(client, *nodes[:2], further=[nodes[2], {"node": nodes[3], "colour": "grey"}])
    assert fused.GetName() == "T1 + CT head + SPECT + FDG PET fused"
    assert sourcesOf(fused) == tuple(nodes)
    assert pairOf(fused) == tuple(nodes[:2])
    assert furtherTransformsOf(fused) == (None, transform)
    modalities = [one["modality"] for one in reportOf(fused)["further"]]
    assert modalities == ["SPECT", "PET"]
    scene.RemoveNode(nodes[2])
    assert sourcesOf(fused) == (*nodes[:2], None, nodes[3])


def test_an_output_that_had_further_sources_forgets_them(client, nodes):
    fused = run(client, *nodes[:2], further=[{"node": nodes[3], "colour": "grey"}])
    again = run(client, *nodes[:2], fused)
    assert again is fused
    assert sourcesOf(fused) == tuple(nodes[:2])
    assert fused.GetName() == "T1 + CT head fused"
    assert reportOf(fused)["further"] == []


def test_a_further_volume_is_laid_by_its_transform_node_as_if_it_were_applied(client, nodes, scene):
    """Moved by whole voxels and brought back by its own transform, it fuses as if never moved."""
    expected = slicer.util.arrayFromVolume(run(client, *nodes[:2], further=[nodes[2]])).copy()
    origin = np.array(nodes[2].GetOrigin())
    nodes[2].SetOrigin(*(origin + np.array([3.0, -2.0, 4.0])))
    transform = addTransform(scene, (-3.0, 2.0, -4.0))
    further = [{"node": nodes[2], "transformNode": transform}]
    fused = run(client, *nodes[:2], further=further)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(fused), expected)
    assert furtherTransformsOf(fused) == (transform,)
    nodes[2].SetAndObserveTransformNodeID(transform.GetID())
    under = run(client, *nodes[:2], further=[nodes[2]])
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(under), expected)


def test_a_registered_further_volume_leaves_its_transform_and_verdict(client, scene, headPair):
    reference, other = headPair
    far = slicer.util.addVolumeFromArray(
        slicer.util.arrayFromVolume(other), name="CT of another day"
    )
    moved = np.diag([2.0, 2.0, 2.0, 1.0])
    moved[:3, 3] = (5.0, -4.0, 6.0)
    far.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(moved))
    further = [{"node": far, "alignment": "rigid"}]
    fused = run(client, reference, other, further=further, force=True)
    (transform,) = furtherTransformsOf(fused)
    assert sourcesOf(transform) == (reference, far)
    told = reportOf(fused)["further"][0]
    assert told["registration"]["quality"]["verdict"] in ("pass", "doubtful", "failed")
    found = slicer.util.arrayFromTransformMatrix(transform)
    np.testing.assert_allclose(found[:3, 3], (-5.0, 4.0, -6.0), atol=1.0)
    judged = run(client, reference, other, further=[{"node": far, "transformNode": transform}])
    before = reportOf(judged)["further"][0]["registered_before"]
    assert before["verdict"] == told["registration"]["quality"]["verdict"]


@pytest.fixture
def headPair(scene):
    """Two contrasts of one made head on a grid of 2 mm: an ellipsoid with a few clear parts."""
    k, j, i = np.indices((40, 48, 44)) * 2.0
    head = (((i - 44) / 36) ** 2 + ((j - 48) / 42) ** 2 + ((k - 40) / 34) ** 2) < 1
    first = np.where(head, 300.0, 0.0)
    for centre, radius, value in (((30, 40, 30), 9, 500), ((60, 60, 50), 7, -200)):
        ball = sum((axis - c) ** 2 for axis, c in zip((i, j, k), centre, strict=True)) < radius**2
        first += np.where(ball, value, 0)
    noise = np.random.default_rng(0).normal(0, 4, first.shape)
    geometry = np.diag([2.0, 2.0, 2.0, 1.0])
    voxels = [(first + noise).astype(np.int16), (900 - first + noise).astype(np.int16) * head]
    return [
        slicer.util.addVolumeFromArray(one, geometry, name)
        for one, name in zip(voxels, ("T1", "T2"), strict=True)
    ]


def test_a_volume_that_is_given_twice_is_refused(nodes):
    for twice in (nodes[0], nodes[1]):
        with pytest.raises(InputError, match="is chosen twice"):
            requestFor(*nodes[:2], further=[twice])
    with pytest.raises(InputError, match="is chosen twice"):
        requestFor(*nodes[:2], further=[nodes[2], nodes[2]])


def test_a_further_volume_as_output_is_refused_before_anything_is_fused(client, nodes):
    with pytest.raises(InputError, match="one of the inputs"):
        run(client, *nodes[:2], nodes[2], further=[nodes[2]])


@pytest.mark.parametrize("wrong", [{"window": "full"}, {"node": "SPECT", "colours": "hot"}, 7])
def test_what_is_no_further_volume_is_refused_with_what_is_asked_for(nodes, wrong):
    with pytest.raises(InputError):
        requestFor(*nodes[:2], further=[wrong])


def test_colours_that_could_not_be_told_apart_are_refused_and_leave_nothing(client, nodes, scene):
    count = scene.GetNumberOfNodes()
    with pytest.raises(InputError, match="told apart"):
        run(client, nodes[0], nodes[2], further=[nodes[3]], colour="hot")
    assert scene.GetNumberOfNodes() == count


def test_a_further_volume_that_is_removed_in_mid_run_ends_it(client, nodes, scene):
    request = requestFor(*nodes[:2], further=nodes[2:3], **SETTINGS)
    count = scene.GetNumberOfNodes()
    job = FusionJob(client, request)
    scene.RemoveNode(nodes[2])
    assert not job.running
    with pytest.raises(InputError, match="'SPECT' was removed during the fusion"):
        job.wait()
    assert scene.GetNumberOfNodes() < count
    assert run(client, *nodes[:2]) is not None, "the process lives on"


def test_a_further_volume_that_changes_while_it_is_handed_over_is_refused(client, nodes):
    job = FusionJob(client, requestFor(*nodes[:2], further=nodes[2:3], **SETTINGS))
    slicer.util.updateVolumeFromArray(nodes[2], slicer.util.arrayFromVolume(nodes[1]) + 1)
    with pytest.raises(InputError, match="was changed while"):
        job.wait()


def test_no_registration_of_a_further_volume_begins_over_a_transform_that_bends(
    client, nodes, scene
):
    bent = scene.AddNewNodeByClass("vtkMRMLGridTransformNode")
    field = sitk.GetImageFromArray(np.full((4, 4, 4, 3), 2.0), isVector=True)
    from MedFusionLib.slicer_app.scene.found_transforms import gridTransformOf

    bent.SetAndObserveTransformFromParent(gridTransformOf(field))
    nodes[2].SetAndObserveTransformNodeID(bent.GetID())
    with pytest.raises(GeometryError, match="non-linear transform"):
        run(client, *nodes[:2], further=[{"node": nodes[2], "alignment": "rigid"}])


def test_another_patients_further_volume_is_refused_and_accepted_with_a_warning(
    client, nodes, tellPatient
):
    tellPatient(nodes[0], "7")
    tellPatient(nodes[2], "8")
    with pytest.raises(IdentityError, match="third has ID '8'"):
        run(client, *nodes[:2], further=nodes[2:3])
    request = requestFor(*nodes[:2], further=nodes[2:3], **SETTINGS)
    fused = FusionJob(client, replace(request, acceptedPatients="Both are known.")).wait()
    assert reportOf(fused)["warnings"][0] == "Both are known."


@pytest.fixture
def tellPatient(scene):
    names = slicer.vtkMRMLSubjectHierarchyConstants
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)

    def tell(node, identity: str) -> None:
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), identity)
        hierarchy.SetItemAttribute(patient, names.GetDICOMPatientIDAttributeName(), identity)
        hierarchy.CreateItem(hierarchy.CreateStudyItem(patient, "study"), node)

    return tell


def test_what_is_hidden_of_each_of_three_is_measured_and_told(client, nodes):
    job = FusionJob(client, requestFor(*nodes[:2], further=nodes[2:3], score=True, **SETTINGS))
    report = reportOf(job.wait())
    assert list(job.report["hidden"]["hidden_share"]) == ["reference", "other", "further 1"]
    assert report["hidden"] == inTheLibrary(nodes[:3]).hidden.figures
    for modality in ("CT", "MR", "SPECT"):
        assert f"that of the {modality} in" in keptText(report)


def test_an_export_tells_of_every_source(client, nodes, tellPatient, tmp_path):
    fused = run(client, *nodes[:2], further=[{"node": nodes[2], "colour": "grey"}])
    tellPatient(nodes[2], "8")
    _volumes, values = exportRequest(fused, reportOf(fused), tmp_path / "series")
    assert [one["patient_id"] for one in values["further_metadata"]] == ["8"]


def test_fusing_in_this_process_gives_what_the_worker_gives(client, nodes):
    fused = run(client, *nodes[:2], further=nodes[2:3])
    node, report = fuseNodes(*nodes[:2], furtherNodes=nodes[2:3], **SETTINGS)
    expected = slicer.util.arrayFromVolume(fused)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), expected)
    assert sourcesOf(node) == tuple(nodes[:3])
    assert len(report["further"]) == 1


def test_a_previewed_slice_of_three_equals_that_of_their_fusion(client, nodes, scene):
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    view = scene.CreateNodeByClass("vtkMRMLSliceNode")
    view.UnRegister(None)
    view.SetLayoutName("Red")
    view = scene.AddNode(view)
    view.SetOrientation("Axial")
    view.SetSliceOffset(6.0)
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    fused = run(client, *nodes[:2], further=nodes[2:3])
    shown: list[str] = []
    preview = slice_preview.SlicePreview(
        client, lambda *told: shown.append(told[2]), lambda error: pytest.fail(str(error))
    )
    request = requestFor(*nodes[:2], further=nodes[2:3], plane="axial", **SETTINGS)
    preview.start(request, view, composite, live=False)
    while not shown:
        client.processEvents(0.02)
    layer = slicer.util.arrayFromVolume(preview.layerNode)
    np.testing.assert_array_equal(layer[0], slicer.util.arrayFromVolume(fused)[3])
    assert sourcesOf(preview.layerNode) == tuple(nodes[:3])
    preview.stop()
