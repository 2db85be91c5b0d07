"""What "Fuse study" knows of the loaded volumes, from a real scene."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from dicom_study import Database, write_dicom

from MedFusionLib.slicer_app.scene.provenance import METHOD_ATTRIBUTE
from MedFusionLib.slicer_app.scene.series_of_scene import loadedSeries
from MedFusionLib.volumes.series_facts import patients_of
from MedFusionLib.volumes.series_traits import traits_of
from MedFusionLib.volumes.volume import Volume

NAMES = slicer.vtkMRMLSubjectHierarchyConstants


def volume(name, shape=(12, 20, 24)):
    voxels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    return slicer.util.addVolumeFromArray(voxels, np.diag([1.0, 1.0, 1.5, 1.0]), name)


def hierarchyOf(scene):
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def put(scene, node, patient="", study="", modality="", frame="", description=""):
    """Into the subject hierarchy, as Slicer's DICOM module does; the subject's item."""
    hierarchy = hierarchyOf(scene)
    subject = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "subject")
    below = hierarchy.CreateStudyItem(subject, "study")
    item = hierarchy.CreateItem(below, node)
    if study:
        hierarchy.SetItemUID(below, NAMES.GetDICOMUIDName(), study)
        hierarchy.SetItemAttribute(below, NAMES.GetDICOMStudyDateAttributeName(), "20240305")
    for place, attribute, value in (
        (subject, NAMES.GetDICOMPatientIDAttributeName(), patient),
        (item, NAMES.GetDICOMSeriesModalityAttributeName(), modality),
        (item, NAMES.GetDICOMFrameOfReferenceUIDAttributeName(), frame),
        (item, NAMES.GetDICOMAttributePrefix() + "SeriesDescription", description),
    ):
        if value:
            hierarchy.SetItemAttribute(place, attribute, value)
    return subject


def test_a_dicom_volume_is_known_as_dicom_tells(scene):
    node = volume("renamed")
    put(scene, node, "A1", "1.2.3", "PT", "1.2.4", "FDG PET NAC")
    (found,) = loadedSeries(scene)
    assert found.key == node.GetID()
    assert (found.name, found.modality) == ("renamed", "PET")
    assert found.person == ("patient", "a1", "", "")
    assert (found.study_uid, found.study_date) == ("1.2.3", "20240305")
    assert found.frame_of_reference_uid == "1.2.4"
    assert found.shape == (12, 20, 24)
    assert found.spacing == (1.0, 1.0, 1.5)
    assert traits_of(found).corrected is False, "by its description in DICOM"


def test_volumes_under_one_subject_are_of_one_patient_and_others_of_nobody(scene):
    one, two, alone = (volume(name) for name in ("T1", "FDG PET", "CT"))
    subject = put(scene, one)
    hierarchyOf(scene).CreateItem(subject, two)
    patients, unknown = patients_of(loadedSeries(scene))
    assert [each.name for each in patients[0].series] == ["T1", "FDG PET"]
    assert [each.key for each in unknown] == [alone.GetID()]


def test_fused_volumes_and_empty_nodes_are_told_as_such(scene):
    volume("T1 + PET fused").SetAttribute(METHOD_ATTRIBUTE, "average")
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    found = {one.name: one for one in loadedSeries(scene)}
    assert set(found) == {"T1 + PET fused", "Empty"}
    assert found["T1 + PET fused"].is_fused
    assert "no voxels" in found["Empty"].refusal


@pytest.mark.parametrize(("linear", "frame"), [(True, ""), (False, "1.2.4")])
def test_what_is_laid_by_a_linear_transform_is_taken_as_placed(scene, linear, frame):
    node = volume("PET")
    put(scene, node, "A1", modality="PT", frame="1.2.4")
    kind = "vtkMRMLLinearTransformNode" if linear else "vtkMRMLBSplineTransformNode"
    parent = scene.AddNewNodeByClass(kind, "parent")
    if not linear:
        parent.SetAndObserveTransformFromParent(vtk.vtkThinPlateSplineTransform())
    node.SetAndObserveTransformNodeID(parent.GetID())
    (found,) = loadedSeries(scene)
    assert found.frame_of_reference_uid == frame


def test_the_database_tells_more_of_its_own_volumes(scene, tmp_path, monkeypatch):
    small = Volume(np.ones((9, 6, 7), np.int16), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0))
    write_dicom(
        tmp_path,
        small,
        "PT",
        "brain",
        CorrectedImage=["DECY", "ATTN"],
        SeriesType=["STATIC", "IMAGE"],
        Manufacturer="MedFusion",
    )
    database = Database(tmp_path)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    node = volume("brain")
    (series,) = database.seriesForStudy(database.studiesForPatient(database.patients()[0])[0])
    node.SetAttribute("DICOM.instanceUIDs", " ".join(database.instancesForSeries(series)))
    (found,) = loadedSeries(scene)
    assert found.corrections == ("DECY", "ATTN")
    assert found.series_type == ("STATIC", "IMAGE")
    assert found.is_fused
    assert found.shape == (12, 20, 24), "the node's own grid"
