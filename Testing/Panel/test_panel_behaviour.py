"""The panel's own code, pressed and watched: real widgets, real scene, real worker process."""

from __future__ import annotations

import numpy as np
import psutil
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
pytest.importorskip("PySide6.QtWidgets", reason="needs PySide6")

from MedFusionLib.slicer_app.choices import AlignmentChoice  # noqa: E402


def test_apply_says_what_is_missing_until_two_volumes_are_chosen(panel):
    assert not panel.ui.applyButton.enabled
    assert "reference volume" in panel.ui.applyButton.toolTip
    panel.choosePair()
    assert panel.ui.applyButton.enabled
    assert "other grid" in panel.ui.relationLabel.text
    assert "guessed from 'fdg'" in panel.ui.otherModalityLabel.text


def test_apply_becomes_cancel_and_then_the_fused_volume_is_the_output(panel):
    panel.choosePair()
    panel.apply()
    assert panel.ui.applyButton.text == "&Cancel"
    assert not panel.ui.inputsCollapsibleButton.enabled
    panel.wait(lambda: panel.ui.applyButton.text == "&Apply")
    fused = panel.parameters.outputVolume
    assert fused.IsA("vtkMRMLVectorVolumeNode")
    assert "Done in" in panel.ui.progressLabel.text
    assert "volume is not certain: PET, guessed from" in panel.ui.resultLabel.text
    assert not panel.ui.showPlotButton.enabled, "the result is shown before it is measured"
    panel.wait(lambda: "is being measured" in panel.ui.resultLabel.text)
    panel.wait(lambda: "Measured on 9 of 12" in panel.ui.qualityLabel.text)
    assert "is being measured" not in panel.ui.resultLabel.text
    assert "SSIM" in panel.ui.metricsLabel.text
    assert "Uptake readable" in panel.ui.qualityLabel.text
    assert "Hidden: " in panel.ui.resultLabel.text
    assert panel.ui.showPlotButton.enabled
    panel.ui.measureAllButton.click()
    panel.wait(lambda: "Measured on 12 of 12" in panel.ui.qualityLabel.text)
    assert not panel.ui.measureAllButton.enabled
    panel.applyAndWait()
    assert panel.parameters.outputVolume is fused


def test_heads_that_lie_apart_are_told_before_they_are_fused(panel):
    panel.chooseSamplePair()
    assert panel.ui.registerButton.isHidden()
    panel.wait(lambda: "These heads do not lie on each other" in panel.ui.warningsLabel.text)
    assert not panel.ui.registerButton.isHidden()
    panel.applyAndWait()
    assert "Fused as they lay: These heads do not" in panel.ui.resultLabel.text
    panel.ui.registerButton.click()
    assert panel.parameters.alignment is AlignmentChoice.RIGID
    assert panel.ui.registerButton.isHidden()
    assert "These heads" not in panel.ui.warningsLabel.text
    assert "Fused as they lay" in panel.ui.resultLabel.text, "it belongs to the result"


def test_a_look_at_the_heads_is_given_up_when_another_volume_is_chosen(panel):
    panel.chooseSamplePair()
    panel.wait(lambda: panel.panel.position._job is not None)
    job = panel.panel.position._job
    panel.parameters.otherVolume = None
    assert not job.running
    assert panel.panel.position.report is None
    panel.logic.client.processEvents(0.5)
    assert panel.ui.registerButton.isHidden()


def test_a_new_run_does_not_wait_for_the_measures_of_the_old_one(panel):
    panel.choosePair()
    panel.applyAndWait()
    processId = panel.logic.client.processId
    panel.apply()
    assert panel.ui.applyButton.text == "&Cancel"
    panel.wait(lambda: panel.ui.applyButton.text == "&Apply")
    assert "Done in" in panel.ui.progressLabel.text
    assert panel.logic.client.processId == processId
    panel.wait(lambda: "Measured on 9 of 12" in panel.ui.qualityLabel.text)


def test_another_patients_volume_is_asked_for_with_both_identities(panel, monkeypatch):
    panel.choosePair()
    asked, answers = [], [False, True]

    def confirm(question, **_):
        asked.append(question)
        return answers.pop(0)

    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", confirm, raising=False)
    panel.tellPatient(panel.parameters.referenceVolume, "DOE^JANE", "A1", "19500102", "20240305")
    panel.tellPatient(panel.parameters.otherVolume, "ROE^RICHARD", "B2", "19610708", "20240306")
    panel.parameters.referenceVolume.Modified()
    panel.parameters.otherVolume.Modified()
    panel.panel.refresh()
    assert "DOE JANE, ID A1, born 1950-01-02, study of 2024-03-05" in (
        panel.ui.referenceModalityLabel.text
    )
    panel.apply()
    assert "DOE JANE, ID A1" in asked[0]
    assert "ROE RICHARD, ID B2, born 1961-07-08" in asked[0]
    assert panel.ui.applyButton.text == "&Apply", "no: nothing runs"
    panel.applyAndWait()
    assert len(asked) == 2
    assert "Different patients" in panel.ui.resultLabel.text


def test_an_input_that_cannot_be_fused_disables_apply_with_its_reason(panel):
    panel.choosePair()
    flat = slicer.util.addVolumeFromArray(np.ones((1, 24, 28), np.int16), name="Flat")
    panel.parameters.otherVolume = flat
    assert not panel.ui.applyButton.enabled
    assert "'Flat' is a single slice" in panel.ui.applyButton.toolTip
    assert "single slice" in panel.ui.warningsLabel.text
    panel.parameters.otherVolume = panel.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    assert "'Empty' holds no voxels" in panel.ui.applyButton.toolTip


def test_warnings_and_the_end_of_a_run_go_with_their_result(panel):
    panel.choosePair()
    panel.applyAndWait()
    assert "FDG PET, fused by average" in panel.ui.resultLabel.text
    panel.parameters.otherVolume = slicer.util.addVolumeFromArray(
        np.ones((12, 24, 28), np.int16), name="CT"
    )
    assert panel.ui.progressLabel.text == ""
    assert "not a fusion of the volumes that are chosen" in panel.ui.resultLabel.text
    panel.panel.stop()
    panel.panel.setParameters(None)
    assert "Nothing is fused yet" in panel.ui.resultLabel.text
    assert panel.ui.progressLabel.text == ""


def test_a_report_without_an_ending_becomes_a_web_page(panel, tmp_path):
    from MedFusionLib.slicer_app.panel.quality import withSuffix

    assert withSuffix(tmp_path / "Mr. Smith").name == "Mr. Smith.html"
    assert withSuffix(tmp_path / "report.JSON").name == "report.JSON"


def test_a_cancelled_run_gives_the_panel_and_the_scene_back(panel):
    panel.choosePair()
    count = panel.scene.GetNumberOfNodes()
    panel.apply()
    panel.apply()
    assert panel.ui.applyButton.text == "&Cancel now"
    panel.wait(lambda: panel.ui.applyButton.text == "&Apply")
    assert "cancelled" in panel.ui.progressLabel.text
    assert panel.scene.GetNumberOfNodes() == count
    assert panel.ui.inputsCollapsibleButton.enabled


def test_a_second_cancel_stops_the_process_and_gives_the_panel_back_at_once(panel):
    panel.choosePair()
    panel.apply()
    for _ in range(2):
        panel.apply()
    assert panel.ui.applyButton.text == "&Apply"
    assert "cancelled" in panel.ui.progressLabel.text
    panel.applyAndWait()


def test_a_killed_process_gives_one_sentence_and_the_next_run_works(panel):
    panel.choosePair()
    panel.apply()
    panel.wait(lambda: panel.logic.client.processId)
    psutil.Process(panel.logic.client.processId).kill()
    panel.wait(lambda: panel.ui.applyButton.text == "&Apply")
    assert "memory ran out" in panel.ui.progressLabel.text
    panel.applyAndWait()
    assert "Done in" in panel.ui.progressLabel.text


def test_the_panel_sees_that_a_volume_was_moved(panel):
    panel.choosePair()
    transform = panel.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    panel.parameters.otherVolume.SetAndObserveTransformNodeID(transform.GetID())
    far = np.eye(4)
    far[0, 3] = 900
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(far))
    panel.wait(lambda: panel.ui.relationLabel.text == "No overlap.", 5)
    assert not panel.ui.applyButton.enabled


def test_closing_the_scene_in_mid_run_leaves_no_process_and_no_file(panel, tmp_path):
    panel.choosePair()
    panel.apply()
    panel.wait(lambda: panel.logic.client.processId)
    process = psutil.Process(panel.logic.client.processId)
    panel.panel.stop()
    panel.panel.setParameters(None)
    panel.scene.Clear(0)
    psutil.wait_procs([process], timeout=5)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert list(tmp_path.glob("medfusion-*")) == []
    assert panel.scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0


def test_devices_report_and_series_come_from_the_worker(panel, tmp_path):
    panel.choosePair()
    panel.panel.askForDevices()
    panel.wait(lambda: panel.ui.deviceComboBox.count > 1)
    assert panel.ui.deviceComboBox.itemText(1) == "CPU"
    panel.applyAndWait()
    panel.panel.quality.saveReport(tmp_path / "report.html")
    panel.wait(lambda: "Saved" in panel.ui.qualityMessageLabel.text)
    assert "average" in (tmp_path / "report.html").read_text(encoding="utf-8")
    panel.panel.quality.exportDicom(tmp_path / "series")
    panel.wait(lambda: "Exported 12 images" in panel.ui.qualityMessageLabel.text)
    assert len(list((tmp_path / "series").iterdir())) == 12
    panel.ui.navigationCheckBox.checked = True
    panel.panel.quality.exportDicom(tmp_path / "navigation")
    panel.wait(lambda: "Give the reference as DICOM" in panel.ui.qualityMessageLabel.text)
    assert not (tmp_path / "navigation").exists()


def test_without_a_slice_view_the_preview_says_so(panel):
    panel.choosePair()
    panel.ui.previewButton.click()
    assert "No slice view is shown" in panel.ui.previewLabel.text


def test_the_live_preview_follows_the_view_and_the_choices_and_leaves_nothing(panel):
    panel.choosePair()
    sliceNode, compositeNode = panel.addRedView()
    count = panel.scene.GetNumberOfNodes()
    panel.ui.livePreviewCheckBox.click()
    panel.wait(lambda: "fused in" in panel.ui.previewLabel.text)
    layer = compositeNode.GetForegroundVolumeID()
    first = slicer.util.arrayFromVolume(panel.scene.GetNodeByID(layer)).copy()
    panel.ui.previewLabel.text = ""
    sliceNode.SetSliceOffset(8.0)
    panel.wait(lambda: "fused in" in panel.ui.previewLabel.text)
    second = slicer.util.arrayFromVolume(panel.scene.GetNodeByID(layer)).copy()
    assert not np.array_equal(first, second)
    panel.ui.previewLabel.text = ""
    panel.parameters.method = "maximum"
    panel.wait(lambda: "fused in" in panel.ui.previewLabel.text)
    third = panel.scene.GetNodeByID(compositeNode.GetForegroundVolumeID())
    assert not np.array_equal(slicer.util.arrayFromVolume(third), second)
    panel.ui.livePreviewCheckBox.click()
    assert compositeNode.GetForegroundVolumeID() is None
    assert panel.scene.GetNumberOfNodes() == count


def test_the_slice_views_follow_the_chosen_pointer(panel):
    panel.choosePair()
    sliceNode, _ = panel.addRedView()
    pointer = panel.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Pointer")
    assert not panel.ui.followPointerCheckBox.enabled
    panel.applyAndWait()
    panel.parameters.pointerTransform = pointer
    panel.ui.followPointerCheckBox.click()
    tip = np.eye(4)
    tip[:3, 3] = (10.0, 8.0, 6.25)
    pointer.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(tip))
    assert sliceNode.GetSliceOffset() == pytest.approx(6.25, abs=0.01)
    assert "Inside, 5.2 mm from the border" in panel.ui.distanceLabel.text
    panel.panel.stop()
    assert not pointer.HasObserver(slicer.vtkMRMLTransformNode.TransformModifiedEvent)
    assert not panel.ui.followPointerCheckBox.checked
