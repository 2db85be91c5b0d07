"""Volumes go into a MRML scene and come back from it without losing a bit of their place."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk

from MedFusionLib.errors import InputError
from MedFusionLib.slicer_app.scene.mrml import addVolumeNode, volumeFromNode
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.volume import Volume


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """Rotation matrix by angles in degrees, from VTK."""
    transform = vtk.vtkTransform()
    transform.RotateX(x)
    transform.RotateY(y)
    transform.RotateZ(z)
    return slicer.util.arrayFromVTKMatrix(transform.GetMatrix())[:3, :3]


DIRECTIONS = {
    "straight": np.eye(3),
    "flipped in all axes": -np.eye(3),
    "left-handed": np.diag([1.0, 1.0, -1.0]),
    "oblique": rotation(8, -5, 20),
    "sagittal array order, oblique": rotation(3, 4, 5)[:, [1, 2, 0]],
}


def make_volume(directions: np.ndarray, dtype=np.int16, colour: bool = False) -> Volume:
    shape = (5, 6, 7, 3) if colour else (5, 6, 7)
    voxels = np.random.default_rng(1).integers(0, 250, shape).astype(dtype)
    spacing, origin = (0.4296875, 0.7, 3.3), (-91.123456789, 12.1, -7.0)
    return Volume(voxels, spacing, origin, tuple(directions.ravel().tolist()))


@pytest.fixture(params=DIRECTIONS)
def directions(request) -> np.ndarray:
    return DIRECTIONS[request.param]


def test_a_volume_keeps_every_bit_of_its_geometry_through_a_scene(scene, directions):
    volume = make_volume(directions)
    back = volumeFromNode(addVolumeNode(scene, volume, "MR"))
    assert (back.spacing, back.origin, back.directions) == (
        volume.spacing,
        volume.origin,
        volume.directions,
    )
    assert back.voxels.dtype == volume.voxels.dtype
    np.testing.assert_array_equal(back.voxels, volume.voxels)


def test_each_voxel_lies_in_the_scene_where_simpleitk_puts_it(scene, directions):
    volume = make_volume(directions)
    node = addVolumeNode(scene, volume, "MR")
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    for i, j, k in ((0, 0, 0), (6, 5, 4), (3, 1, 2)):
        ras = np.array(matrix.MultiplyPoint((i, j, k, 1)))[:3]
        lps = (volume.affine_lps @ (i, j, k, 1))[:3]
        np.testing.assert_allclose(ras, lps * (-1, -1, 1), atol=1e-12)


def test_a_file_that_slicer_writes_reads_back_on_the_same_grid(scene, directions, tmp_path):
    volume = make_volume(directions)
    node = addVolumeNode(scene, volume, "MR")
    back = read_volume(write_with_slicer(scene, node, tmp_path / "node.nrrd"))
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    np.testing.assert_allclose(back.affine_lps, volume.affine_lps, atol=1e-10)


def test_a_colour_volume_that_slicer_writes_reads_back_in_colour(scene, tmp_path):
    volume = make_volume(DIRECTIONS["oblique"], np.uint8, colour=True)
    node = addVolumeNode(scene, volume, "fused")
    assert node.GetVoxelVectorType() == slicer.vtkMRMLVolumeNode.VoxelVectorTypeColorRGB
    back = read_volume(write_with_slicer(scene, node, tmp_path / "node.nrrd"))
    assert back.is_colour
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    np.testing.assert_allclose(back.affine_lps, volume.affine_lps, atol=1e-10)


def write_with_slicer(scene, node, path):
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    assert storage.WriteData(node)
    return path


def test_reading_a_node_copies_its_voxels(scene):
    node = addVolumeNode(scene, make_volume(np.eye(3)), "MR")
    volume = volumeFromNode(node)
    slicer.util.arrayFromVolume(node)[:] = 0
    assert volume.voxels.any()


def test_double_voxels_come_out_as_the_float_that_files_give(scene):
    node = addVolumeNode(scene, make_volume(np.eye(3), np.float64), "MR")
    assert volumeFromNode(node).voxels.dtype == np.float32


def test_the_given_modality_wins_over_dicom_and_dicom_over_the_name(scene):
    node = addVolumeNode(scene, make_volume(np.eye(3)), "brain T1")
    guess = volumeFromNode(node)
    assert (guess.modality, guess.metadata["modality_source"]) == ("MR", "guess")

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    hierarchy.SetItemUID(study, "DICOM", "1.2.3")
    series = hierarchy.CreateItem(study, node)
    hierarchy.SetItemUID(series, "DICOM", "1.2.3.4")
    hierarchy.SetItemAttribute(series, "DICOM.Modality", "PT")
    hierarchy.SetItemAttribute(series, "DICOM.FrameOfReferenceUID", "9.8.7")
    dicom = volumeFromNode(node)
    assert (dicom.modality, dicom.metadata["modality_source"]) == ("PET", "dicom")
    assert dicom.metadata["frame_of_reference_uid"] == "9.8.7"
    assert dicom.metadata["study_uid"] == "1.2.3"
    assert dicom.metadata["series_uid"] == "1.2.3.4"

    given = volumeFromNode(node, "CT")
    assert (given.modality, given.metadata["modality_source"]) == ("CT", "given")


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_large_unnamed_ct_is_told_by_the_air_around_the_patient(scene, dtype):
    voxels = np.full((70, 150, 151), 40, dtype)
    voxels[:, :20], voxels[:, -20:] = -1000, -1000
    if dtype == np.float32:
        voxels[0, 0, 0] = np.nan
    node = slicer.util.addVolumeFromArray(voxels, name="series 3")
    assert volumeFromNode(node).modality == "CT"
    slicer.util.arrayFromVolume(node)[voxels == -1000] = 0
    assert volumeFromNode(node).modality == "unknown"


def test_a_node_that_holds_no_image_is_refused_with_a_sentence(scene):
    label = slicer.util.addVolumeFromArray(
        np.ones((3, 3, 3), np.uint8), nodeClassName="vtkMRMLLabelMapVolumeNode"
    )
    with pytest.raises(InputError, match="is no image"):
        volumeFromNode(label)
    with pytest.raises(InputError, match="holds no voxels"):
        volumeFromNode(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))
    with pytest.raises(InputError, match="single slice"):
        volumeFromNode(slicer.util.addVolumeFromArray(np.ones((1, 4, 5), np.int16)))


def test_a_displacement_volume_is_not_taken_for_a_colour_image(scene):
    node = slicer.util.addVolumeFromArray(
        np.ones((3, 3, 3, 3), np.float32), nodeClassName="vtkMRMLVectorVolumeNode"
    )
    node.SetVoxelVectorType(slicer.vtkMRMLVolumeNode.VoxelVectorTypeSpatial)
    with pytest.raises(InputError, match="neither an intensity nor a color"):
        volumeFromNode(node)
