"""Fuse study and Batch: real widgets, real scene, real process; the database is stood in for."""

from __future__ import annotations

from dataclasses import replace

import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
pytest.importorskip("PySide6.QtWidgets", reason="needs PySide6")

from dicom_study import RICHARD, Database, uid, write_dicom  # noqa: E402
from PySide6 import QtCore  # noqa: E402

from MedFusionLib.errors import InputError  # noqa: E402
from MedFusionLib.sample_data import OTHER, REFERENCE  # noqa: E402
from MedFusionLib.slicer_app.choices import AlignmentChoice, Modality, Window  # noqa: E402
from MedFusionLib.slicer_app.scene.series_of_database import filesOfSeries  # noqa: E402
from MedFusionLib.volumes.files import read_volume  # noqa: E402

NAMES = slicer.vtkMRMLSubjectHierarchyConstants
JANE = ("DOE^JANE", "A1", "19500102", "20240305")
JOHN = ("ROE^RICHARD", "B2", "19610708", "20240305")


def load(panel, name, modality, patient, frame="1.1"):
    """A volume with what Slicer's DICOM module writes of it into the subject hierarchy."""
    panel.choosePair()
    node, other = panel.parameters.referenceVolume, panel.parameters.otherVolume
    panel.parameters.referenceVolume = panel.parameters.otherVolume = None
    panel.scene.RemoveNode(other)
    node.SetName(name)
    panel.tellPatient(node, *patient)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(panel.scene)
    item = hierarchy.GetItemByDataNode(node)
    hierarchy.SetItemAttribute(item, NAMES.GetDICOMSeriesModalityAttributeName(), modality)
    hierarchy.SetItemAttribute(item, NAMES.GetDICOMFrameOfReferenceUIDAttributeName(), frame)
    return node


def test_a_study_is_hung_with_one_click_and_the_reason_is_said(panel):
    load(panel, "localizer", "MR", JANE)
    flair = load(panel, "FLAIR 3D", "MR", JANE)
    t1 = load(panel, "T1 MPRAGE Gd", "MR", JANE)
    load(panel, "FDG NAC", "PT", JANE, frame="1.2")
    pet = load(panel, "FDG AC", "PT", JANE, frame="1.2")
    panel.parameters.otherModality, panel.parameters.otherWindow = Modality.CT, Window.BONE
    panel.ui.studyButton.click()
    assert panel.parameters.referenceVolume is t1
    assert panel.parameters.otherVolume is pet
    assert panel.parameters.alignment is AlignmentChoice.RIGID
    assert panel.parameters.otherModality is Modality.AUTOMATIC
    assert panel.parameters.otherWindow is Window.AUTOMATIC
    text = panel.ui.studyLabel.text
    for words in ("T1 MPRAGE Gd", "3D T1, with contrast", "attenuation corrected", "FLAIR 3D"):
        assert words in text
    assert "frames of reference differ" in text
    assert "localizer" not in text
    panel.parameters.referenceVolume = flair
    assert panel.ui.studyLabel.isHidden(), "it was said of another choice"


def test_where_the_rules_do_not_tell_nothing_is_chosen(panel):
    for name in ("T1 MPRAGE", "T1 MPRAGE again"):
        load(panel, name, "MR", JANE)
    load(panel, "CT", "CT", JANE)
    panel.ui.studyButton.click()
    assert panel.parameters.referenceVolume is None
    assert panel.parameters.otherVolume is None
    assert "Nothing was chosen" in panel.ui.studyLabel.text
    assert "T1 MPRAGE again" in panel.ui.studyLabel.text


def test_volumes_that_tell_nobody_are_not_chosen(panel):
    panel.ui.studyButton.click()
    assert "No volume is loaded" in panel.ui.studyLabel.text
    panel.choosePair()
    panel.parameters.referenceVolume = panel.parameters.otherVolume = None
    panel.ui.studyButton.click()
    assert panel.parameters.referenceVolume is None
    assert "tells whose it is" in panel.ui.studyLabel.text


def test_several_patients_are_asked_for_in_a_menu_and_never_mixed(panel):
    mr = load(panel, "T1 Jane", "MR", JANE)
    ct = load(panel, "CT Jane", "CT", JANE)
    load(panel, "T1 Richard", "MR", JOHN)
    panel.ui.studyButton.click()
    assert panel.parameters.referenceVolume is None, "nobody was picked yet"
    actions = panel.panel.study._menu.actions()
    assert [action.text() for action in actions] == [
        "DOE JANE, ID A1, born 1950-01-02",
        "ROE RICHARD, ID B2, born 1961-07-08",
    ]
    actions[1].trigger()
    assert panel.parameters.otherVolume is None
    assert "Nothing was chosen. ROE RICHARD" in panel.ui.studyLabel.text
    actions[0].trigger()
    assert panel.parameters.referenceVolume is mr
    assert panel.parameters.otherVolume is ct
    panel.panel.study._menu.close()


def thinned(path):
    volume = read_volume(path)
    return replace(
        volume,
        voxels=volume.voxels[::3, ::3, ::3].copy(),
        spacing=tuple(3 * step for step in volume.spacing),
    )


@pytest.fixture
def database(tmp_path_factory, monkeypatch):
    """Two patients with a pair, one of them displaced within one frame; one patient without."""
    root = tmp_path_factory.mktemp("database")
    mr, pet = (thinned(path) for path in (REFERENCE, OTHER))
    ct = replace(mr, voxels=mr.voxels.max() - mr.voxels)
    his = RICHARD | {"StudyInstanceUID": uid("his"), "FrameOfReferenceUID": uid("his")}
    hers = {"PatientID": "C3", "PatientName": "POE^MARY", "StudyInstanceUID": uid("mary")}
    write_dicom(root / "1", mr, "MR", "T1 MPRAGE")
    write_dicom(root / "2", mr, "MR", "localizer", SeriesNumber=2)
    write_dicom(root / "3", ct, "CT", "CT", SeriesNumber=3)
    write_dicom(root / "4", mr, "MR", "T1", **his)
    write_dicom(root / "5", pet, "PT", "FDG", SeriesNumber=2, **his)
    write_dicom(root / "6", mr, "MR", "T1", **hers)
    found = Database(root)
    monkeypatch.setattr(slicer, "dicomDatabase", found, raising=False)
    return found


def listed(panel):
    panel.ui.batchListButton.click()
    panel.wait(lambda: panel.ui.batchListButton.enabled)
    return [panel.ui.batchList.item(row).text() for row in range(panel.ui.batchList.count)]


def waitForBatch(panel):
    def ended():
        job = panel.panel.batch._job
        if job is not None:
            job._client.processEvents(0.02)
        return panel.panel.batch._job is None

    panel.wait(ended)


def test_the_database_is_listed_and_what_is_ticked_is_fused(panel, database, tmp_path):
    nodes = panel.scene.GetNumberOfNodes()
    texts = listed(panel)
    assert len(texts) == 2
    assert texts[0].startswith(
        "DOE JANE, ID A1, born 1950-01-02, 2024-03-05\n'1: T1 MPRAGE' (3D T1)"
    )
    assert "+ '3: CT' (CT" in texts[0] and "as they lie" in texts[0]
    assert "is missing: 1" in panel.ui.batchLabel.text
    assert not panel.ui.batchButton.enabled
    assert "Tick the pairs" in panel.ui.batchButton.toolTip
    panel.ui.batchTickButton.click()
    assert "folder" in panel.ui.batchButton.toolTip
    folder = tmp_path / "fused"
    panel.ui.batchFolderEdit.currentPath = str(folder)
    panel.ui.batchMethodComboBox.setCurrentText("average")
    assert panel.ui.batchButton.enabled
    panel.ui.batchButton.click()
    assert panel.ui.batchButton.text == "Cancel batch"
    panel.panel.stop()  # as when the scene closes
    assert panel.panel.batch.running
    waitForBatch(panel)
    texts = [panel.ui.batchList.item(row).text() for row in range(2)]
    assert "○ Done in" in texts[0]
    assert "The volumes lie on each other" in texts[0]
    assert "■ Refused: These heads do not lie on each other" in texts[1]
    assert "Fused: 1; kept: 0; refused: 1" in panel.ui.batchLabel.text
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 2 and names[1] == "summary.csv"
    assert "DOE" not in names[0] and "A1" not in names[0]
    assert panel.scene.GetNumberOfNodes() == nodes, "nothing was loaded into the scene"

    panel.ui.batchList.item(1).setCheckState(QtCore.Qt.CheckState.Unchecked)
    panel.ui.batchButton.click()
    waitForBatch(panel)
    assert "Kept: " in panel.ui.batchList.item(0).text()


def test_a_batch_is_cancelled_from_the_panel(panel, database, tmp_path):
    listed(panel)
    panel.ui.batchTickButton.click()
    panel.ui.batchFolderEdit.currentPath = str(tmp_path / "fused")
    panel.ui.batchButton.click()
    panel.ui.batchButton.click()
    waitForBatch(panel)
    assert "Stopped before 2" in panel.ui.batchLabel.text
    assert panel.ui.batchButton.text == "Fuse ticked pairs"


def test_without_a_database_the_list_says_so(panel):
    assert listed(panel) == []
    assert "no DICOM database" in panel.ui.batchLabel.text


def test_a_series_whose_files_are_gone_is_refused(database):
    series = database.seriesForStudy(uid("study"))[0]
    files = filesOfSeries(database)(series)
    files[3].unlink()
    with pytest.raises(InputError, match=f"1 of {len(files)} images"):
        filesOfSeries(database)(series)
