"""The fused node: on the reference's grid, under its transform, with its origin written down."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
import vtk

from MedFusionLib.errors import GeometryError, InputError
from MedFusionLib.slicer_app.scene.mrml import (
    addVolumeNode,
    fusedNodeFromVolume,
    fuseNodes,
    volumeFromNode,
)
from MedFusionLib.volumes.volume import Volume

REPORT = {
    "version": "9.9.9",
    "method": "pyramid",
    "weights_sha256": "ab" * 32,
    "device": "cuda:0",
    "plane": "axial",
    "reference": {"window": {"low": 0.5, "high": 99.5}, "name": 'T1; "a: b" <c> & d'},
    "seconds": {"total": 1.5},
}


def head(seed: int) -> np.ndarray:
    """Voxels with structure inside a ball and background around it."""
    k, j, i = np.indices((8, 20, 22))
    inside = (k - 4) ** 2 / 9 + (j - 10) ** 2 / 64 + (i - 11) ** 2 / 80 < 1
    noise = np.random.default_rng(seed).integers(200, 900, inside.shape)
    return np.where(inside, noise, 0).astype(np.int16)


def add_oblique(scene, name: str, seed: int):
    turn = vtk.vtkTransform()
    turn.RotateX(7)
    turn.RotateZ(-11)
    directions = slicer.util.arrayFromVTKMatrix(turn.GetMatrix())[:3, :3]
    volume = Volume(head(seed), (0.9, 1.1, 2.7), (-31.7, 12.3, 5.1), tuple(directions.ravel()))
    return addVolumeNode(scene, volume, name)


@pytest.fixture
def nodes(scene):
    """A T1 under a patient registration, and a CT under the same one."""
    reference, other = add_oblique(scene, "head T1", 1), add_oblique(scene, "head CT", 2)
    registration = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "PatientToWorld")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 12.0)
    registration.SetMatrixTransformToParent(matrix)
    for node in (reference, other):
        node.SetAndObserveTransformNodeID(registration.GetID())
    return reference, other


def grey_result(reference) -> Volume:
    volume = volumeFromNode(reference)
    voxels = (volume.voxels * 4).astype(np.int16)
    return Volume(voxels, volume.spacing, volume.origin, volume.directions)


def colour_result(reference) -> Volume:
    volume = volumeFromNode(reference)
    voxels = np.repeat((volume.voxels // 4).astype(np.uint8)[..., None], 3, axis=3)
    return Volume(voxels, volume.spacing, volume.origin, volume.directions)


def geometry_bits(node) -> tuple:
    directions = np.zeros((3, 3)).tolist()
    node.GetIJKToRASDirections(directions)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return (
        np.array(node.GetSpacing()).tobytes(),
        np.array(node.GetOrigin()).tobytes(),
        np.array(directions).tobytes(),
        slicer.util.arrayFromVTKMatrix(matrix).tobytes(),
        node.GetImageData().GetDimensions(),
    )


def test_the_fused_node_has_the_geometry_and_the_parent_of_the_reference_bit_for_bit(nodes):
    reference, other = nodes
    fused = fusedNodeFromVolume(grey_result(reference), REPORT, reference, other)
    assert geometry_bits(fused) == geometry_bits(reference)
    assert fused.GetParentTransformNode() is reference.GetParentTransformNode()
    np.testing.assert_array_equal(
        slicer.util.arrayFromVolume(fused), slicer.util.arrayFromVolume(reference) * 4
    )


def test_a_grey_result_is_shown_with_its_whole_range_and_no_automatic_window(nodes):
    fused = fusedNodeFromVolume(grey_result(nodes[0]), REPORT, *nodes)
    display = fused.GetDisplayNode()
    assert fused.GetClassName() == "vtkMRMLScalarVolumeNode"
    assert (display.GetWindow(), display.GetLevel()) == (4095, 2047.5)
    assert not display.GetAutoWindowLevel()
    assert display.GetColorNode().GetName() == "Grey"


def test_a_colour_result_keeps_its_colours_on_the_screen(nodes):
    fused = fusedNodeFromVolume(colour_result(nodes[0]), REPORT, *nodes)
    display = fused.GetDisplayNode()
    assert fused.GetClassName() == "vtkMRMLVectorVolumeNode"
    assert fused.GetVoxelVectorType() == slicer.vtkMRMLVolumeNode.VoxelVectorTypeColorRGB
    assert (display.GetWindow(), display.GetLevel()) == (255, 127.5)
    assert not display.GetAutoWindowLevel()
    display.GetOutputImageDataConnection().GetProducer().Update()
    shown = display.GetOutputImageData()
    red = [shown.GetScalarComponentAsDouble(11, 10, 4, c) for c in range(3)]
    assert red == slicer.util.arrayFromVolume(fused)[4, 10, 11].tolist()


def test_an_output_node_is_updated_in_place_and_tells_its_observers_once(scene, nodes):
    fused = fusedNodeFromVolume(grey_result(nodes[0]), REPORT, *nodes)
    identity, display = fused.GetID(), fused.GetDisplayNode()
    before = scene.GetNumberOfNodes()
    modified = []
    fused.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: modified.append(1))
    brighter = grey_result(nodes[0])
    brighter.voxels[:] = 7
    again = fusedNodeFromVolume(brighter, {"method": "average"}, *nodes, fused)
    assert again is fused and fused.GetID() == identity and fused.GetDisplayNode() is display
    assert (slicer.util.arrayFromVolume(fused) == 7).all()
    assert scene.GetNumberOfNodes() == before
    assert len(modified) == 1
    assert fused.GetAttribute("MedFusion.WeightsSHA256") is None


def test_fusing_adds_the_fused_node_and_its_display_node_and_nothing_else(scene, nodes):
    before = {node.GetID() for node in scene_nodes(scene)}
    fused = fusedNodeFromVolume(grey_result(nodes[0]), REPORT, *nodes)
    added = {node.GetID() for node in scene_nodes(scene)} - before
    assert added == {fused.GetID(), fused.GetDisplayNodeID()}


def scene_nodes(scene):
    return [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]


def test_what_a_node_was_fused_from_survives_saving_the_scene(scene, nodes, tmp_path):
    reference, other = nodes
    fused = fusedNodeFromVolume(grey_result(reference), REPORT, reference, other)
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Commit()
    loaded = slicer.vtkMRMLScene()
    loaded.SetURL(str(tmp_path / "scene.mrml"))
    loaded.Connect()
    node = loaded.GetFirstNodeByName(fused.GetName())
    assert node.GetAttribute("MedFusion.Method") == "pyramid"
    assert node.GetAttribute("MedFusion.Version") == "9.9.9"
    assert node.GetAttribute("MedFusion.WeightsSHA256") == "ab" * 32
    assert node.GetAttribute("MedFusion.Device") == "cuda:0"
    assert node.GetAttribute("MedFusion.Date")[:2] == "20"
    parameters = json.loads(node.GetAttribute("MedFusion.Parameters"))
    assert parameters == {"plane": "axial", "reference": REPORT["reference"]}
    assert node.GetNodeReference("MedFusion.Reference").GetName() == "head T1"
    assert node.GetNodeReference("MedFusion.Other").GetName() == "head CT"
    assert node.GetNodeReference("MedFusion.Transform").GetName() == "PatientToWorld"


def test_units_and_dicom_identity_do_not_stay_on_a_fused_node(scene, nodes):
    output = fusedNodeFromVolume(grey_result(nodes[0]), REPORT, *nodes)
    hounsfield = slicer.vtkCodedEntry()
    hounsfield.SetValueSchemeMeaning("hnsf'U", "UCUM", "Hounsfield unit")
    output.SetVoxelValueUnits(hounsfield)
    output.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    fused = fusedNodeFromVolume(grey_result(nodes[0]), REPORT, *nodes, output)
    assert fused.GetVoxelValueUnits() is None
    assert fused.GetAttribute("DICOM.instanceUIDs") is None


def test_the_fused_node_stands_under_the_study_of_the_reference(scene, nodes):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    hierarchy.CreateItem(study, nodes[0])
    fused = fusedNodeFromVolume(grey_result(nodes[0]), REPORT, *nodes)
    item = hierarchy.GetItemByDataNode(fused)
    assert hierarchy.GetItemParent(item) == study
    folder = hierarchy.CreateFolderItem(study, "Mine")
    hierarchy.SetItemParent(item, folder)
    fusedNodeFromVolume(grey_result(nodes[0]), REPORT, *nodes, fused)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(fused)) == folder


def test_an_output_that_does_not_fit_is_refused_and_the_scene_stays_as_it_was(scene, nodes):
    reference, other = nodes
    grey, colour = grey_result(reference), colour_result(reference)
    output = fusedNodeFromVolume(grey, REPORT, reference, other)
    third = add_oblique(scene, "third CT", 3)
    before = [(node.GetID(), node.GetMTime()) for node in scene_nodes(scene)]
    with pytest.raises(InputError, match="one of the inputs"):
        fusedNodeFromVolume(grey, REPORT, reference, other, reference)
    with pytest.raises(InputError, match="can only be grayscale"):
        fusedNodeFromVolume(colour, REPORT, reference, other, output)
    with pytest.raises(InputError, match="'third CT' was not made by MedFusion"):
        fusedNodeFromVolume(grey, REPORT, reference, other, third)
    shifted = Volume(grey.voxels, grey.spacing, (0.0, 0.0, 0.0), grey.directions)
    with pytest.raises(InputError, match="does not lie on the grid"):
        fusedNodeFromVolume(shifted, REPORT, reference, other)
    assert [(node.GetID(), node.GetMTime()) for node in scene_nodes(scene)] == before


def test_an_output_with_other_inputs_loses_the_name_the_file_and_the_metrics_of_the_old_ones(
    scene, nodes
):
    output = fusedNodeFromVolume(grey_result(nodes[0]), REPORT, *nodes)
    output.AddDefaultStorageNode("patient_A.nrrd")
    table = scene.AddNewNodeByClass("vtkMRMLTableNode")
    output.SetNodeReferenceID("MedFusion.MetricsTable", table.GetID())
    third = add_oblique(scene, "third CT", 3)
    third.SetAndObserveTransformNodeID(nodes[0].GetTransformNodeID())
    again = fusedNodeFromVolume(grey_result(nodes[0]), REPORT, nodes[0], third, output)
    assert again is output
    assert output.GetName() == "head T1 + third CT fused"
    assert output.GetStorageNode() is None
    assert slicer.util.getNodesByClass("vtkMRMLVolumeArchetypeStorageNode", scene) == []
    assert output.GetNodeReference("MedFusion.MetricsTable") is None
    assert output.GetNodeReference("MedFusion.Other") is third


def test_an_output_whose_inputs_were_deleted_does_not_keep_their_name(scene, nodes):
    output = fusedNodeFromVolume(grey_result(nodes[0]), REPORT, *nodes)
    second = [add_oblique(scene, f"second {name}", 4) for name in ("T1", "CT")]
    for node in second:
        node.SetAndObserveTransformNodeID(nodes[0].GetTransformNodeID())
    for node in nodes:
        scene.RemoveNode(node)
    fusedNodeFromVolume(grey_result(second[0]), REPORT, *second, output)
    assert output.GetName() == "second T1 + second CT fused"


def test_a_name_given_by_the_user_stays_while_the_inputs_are_the_same(nodes):
    output = fusedNodeFromVolume(grey_result(nodes[0]), REPORT, *nodes)
    output.SetName("For the operation")
    fusedNodeFromVolume(grey_result(nodes[0]), REPORT, *nodes, output)
    assert output.GetName() == "For the operation"


def test_two_nodes_are_fused_into_a_node_that_says_how(scene, nodes):
    fused, report = fuseNodes(*nodes, method="average", device="cpu", window_other="full")
    assert fused.GetAttribute("MedFusion.Method") == report["method"] == "average"
    assert report["other"]["modality"] == "CT" and report["other"]["modality_source"] == "guess"
    assert geometry_bits(fused) == geometry_bits(nodes[0])
    voxels = slicer.util.arrayFromVolume(fused)
    assert voxels.dtype == np.int16 and 0 <= voxels.min() < voxels.max() <= 4095


def test_a_pet_makes_a_colour_node(nodes):
    fused, _ = fuseNodes(*nodes, modalities=("MR", "PET"), method="maximum", device="cpu")
    assert fused.GetClassName() == "vtkMRMLVectorVolumeNode"
    assert slicer.util.arrayFromVolume(fused).dtype == np.uint8


def test_moving_the_other_volume_under_a_transform_moves_what_is_fused(scene, nodes):
    reference, other = nodes
    options = {"method": "average", "device": "cpu", "window_other": (0.0, 900.0)}
    slicer.util.updateVolumeFromArray(other, head(2).astype(np.float32))
    still, _ = fuseNodes(reference, other, **options)
    mover = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    mover.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
    step = vtk.vtkMatrix4x4()
    directions = np.zeros((3, 3)).tolist()
    reference.GetIJKToRASDirections(directions)
    for axis in range(3):  # two voxels along I
        step.SetElement(axis, 3, 2 * reference.GetSpacing()[0] * directions[axis][0])
    mover.SetMatrixTransformToParent(step)
    other.SetAndObserveTransformNodeID(mover.GetID())
    moved = add_oblique(scene, "moved CT", 2)
    slicer.util.updateVolumeFromArray(moved, np.roll(head(2).astype(np.float32), 2, axis=2))
    moved.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
    byTransform, _ = fuseNodes(reference, other, **options)
    byVoxels, _ = fuseNodes(reference, moved, **options)
    np.testing.assert_allclose(
        slicer.util.arrayFromVolume(byTransform).astype(int),
        slicer.util.arrayFromVolume(byVoxels).astype(int),
        atol=1,
    )
    assert not np.array_equal(
        slicer.util.arrayFromVolume(byTransform), slicer.util.arrayFromVolume(still)
    )
    assert byTransform.GetNodeReference("MedFusion.Transform") is mover
    with pytest.raises(GeometryError, match="different parent transforms"):
        fuseNodes(reference, other, alignment="none")


def test_a_failed_fusion_leaves_the_scene_as_it_was(scene, nodes):
    before = [(node.GetID(), node.GetMTime()) for node in scene_nodes(scene)]
    slicer.util.arrayFromVolume(nodes[1])[:] = 3
    with pytest.raises(InputError):
        fuseNodes(*nodes, method="average", device="cpu")
    assert [(node.GetID(), node.GetMTime()) for node in scene_nodes(scene)] == before
