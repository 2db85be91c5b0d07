"""The panel's list of further volumes: real widgets, real scene, real worker process."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
pytest.importorskip("PySide6.QtWidgets", reason="needs PySide6")

from MedFusionLib.fusion import fuse  # noqa: E402
from MedFusionLib.registration.quick_check import APART  # noqa: E402
from MedFusionLib.slicer_app.choices import (  # noqa: E402
    AlignmentChoice,
    Colour,
    Modality,
    Window,
)
from MedFusionLib.slicer_app.scene.mrml import volumeFromNode  # noqa: E402
from MedFusionLib.slicer_app.scene.provenance import sourcesOf  # noqa: E402


@pytest.fixture
def three(panel):
    """A chosen pair and the nodes of two more volumes, of which none is chosen yet."""
    panel.choosePair()
    nodes = []
    for seed, name in ((1, "CT head"), (2, "SPECT of the head")):
        _, j, i = np.indices((12, 24, 28))
        noise = np.random.default_rng(seed).integers(0, 60, i.shape)
        voxels = (500 + 300 * np.sin((i + seed * j) / 5) + noise).astype(np.int16)
        nodes.append(slicer.util.addVolumeFromArray(voxels, name=name))
    panel.pair = (panel.parameters.referenceVolume, panel.parameters.otherVolume)
    return nodes


def rows(panel) -> list:
    return panel.panel.further._rows


def add(panel, node):
    """Add a further volume as a user does; its row's widgets."""
    panel.ui.addFurtherButton.click()
    widgets = rows(panel)[-1]._widgets
    widgets.furtherSelector.setCurrentNode(node)
    return widgets


def pick(box, kind, choice) -> None:
    """Choose from a box as a user does."""
    box.setCurrentIndex(list(kind).index(choice))
    box.activated.emit(list(kind).index(choice))


def fused(panel) -> np.ndarray:
    panel.applyAndWait()
    assert panel.parameters.outputVolume is not None, panel.ui.progressLabel.text
    return slicer.util.arrayFromVolume(panel.parameters.outputVolume)


def inTheLibrary(*nodes, **settings) -> np.ndarray:
    volumes = [volumeFromNode(node) for node in nodes]
    return fuse(volumes, method="average", device="cpu", **settings).volume.voxels


def test_without_further_volumes_nothing_is_loaded_or_looked_at(panel, three):
    panel.applyAndWait()
    assert rows(panel) == []
    assert panel.panel.further._checks == []
    assert panel.ui.furtherCollapsibleButton.text == "Further volumes"


def test_three_volumes_are_fused_as_the_library_fuses_them(panel, three):
    add(panel, three[0])
    assert panel.ui.furtherCollapsibleButton.text == "Further volumes (1)"
    assert panel.ui.applyButton.toolTip == "Fuse the 3 volumes"
    np.testing.assert_array_equal(fused(panel), inTheLibrary(*panel.pair, three[0]))
    node = panel.parameters.outputVolume
    assert node.GetName() == "T1 + FDG PET + CT head fused"
    assert sourcesOf(node) == (*panel.pair, three[0])
    assert "T1 with FDG PET and CT head, fused by average" in panel.ui.resultLabel.text
    assert "Third volume: Not registered" in panel.ui.resultLabel.text


def test_what_is_hidden_is_told_of_each_and_no_metrics_of_two_are(panel, three):
    add(panel, three[0])
    panel.applyAndWait()
    panel.wait(lambda: "that of the CT in" in panel.ui.qualityLabel.text)
    assert "metrics are defined for two volumes" in panel.ui.qualityLabel.text
    assert not panel.ui.showTableButton.enabled
    assert not panel.ui.measureAllButton.enabled, "all slices were measured"
    assert "local contrast" in panel.ui.resultLabel.text


def test_settings_of_a_row_reach_the_run(panel, three):
    row = add(panel, three[0])
    pick(row.furtherModalityComboBox, Modality, Modality.SPECT)
    pick(row.furtherWindowComboBox, Window, Window.FULL)
    pick(row.furtherColourComboBox, Colour, Colour.RED)
    (choice,) = panel.parameters.furtherVolumes
    chosen = (choice.volume, choice.modality, choice.window, choice.colour)
    assert chosen == (three[0], Modality.SPECT, Window.FULL, Colour.RED)
    values = fused(panel)
    expected = inTheLibrary(
        *panel.pair, three[0], window_other=[None, "full"], colour=["auto", "red"]
    )
    # Both are in color, as they are with two functional volumes; which is red was chosen.
    np.testing.assert_array_equal(values, expected)


def test_a_row_without_a_volume_is_told_and_drops_no_result(panel, three):
    panel.applyAndWait()
    output = panel.parameters.outputVolume
    panel.ui.addFurtherButton.click()
    assert not panel.ui.applyButton.enabled
    assert "Third volume: Choose the volume, or remove it" in panel.ui.applyButton.toolTip
    assert panel.parameters.outputVolume is output
    rows(panel)[0]._widgets.furtherRemoveButton.click()
    assert panel.ui.applyButton.enabled
    assert panel.parameters.outputVolume is output
    add(panel, three[0])
    assert panel.parameters.outputVolume is None, "other volumes make a new one"


@pytest.mark.parametrize("place", range(2))
def test_a_volume_that_is_chosen_already_is_refused(panel, three, place):
    add(panel, panel.pair[place])
    name = panel.pair[place].GetName()
    assert not panel.ui.applyButton.enabled
    assert f"Third volume: The volume '{name}' is chosen twice." in panel.ui.applyButton.toolTip


def test_one_volume_in_two_rows_is_refused_at_the_second(panel, three):
    add(panel, three[0])
    add(panel, three[0])
    assert "Fourth volume: The volume 'CT head' is chosen twice" in panel.ui.applyButton.toolTip


def test_colours_that_could_not_be_told_apart_are_refused_before_the_run(panel, three):
    row = add(panel, three[1])
    assert panel.ui.applyButton.enabled, "a PET and a SPECT are red and blue"
    panel.parameters.colour = Colour.HOT
    assert not panel.ui.applyButton.enabled
    assert "could not be told apart" in panel.ui.applyButton.toolTip
    pick(row.furtherColourComboBox, Colour, Colour.GREY)
    assert panel.ui.applyButton.enabled


def test_a_removed_volume_leaves_its_row_empty_and_no_neighbour_in_it(panel, three):
    row = add(panel, three[0])
    panel.scene.RemoveNode(three[0])
    assert panel.parameters.furtherVolumes[0].volume is None
    assert row.furtherSelector.currentNode() is None
    assert not panel.ui.applyButton.enabled


def test_a_volume_that_is_removed_in_mid_run_ends_the_run(panel, three):
    add(panel, three[0])
    count = len(slicer.util.getNodesByClass("vtkMRMLVolumeNode"))
    panel.apply()
    assert panel.ui.applyButton.text == "&Cancel"
    assert not panel.ui.furtherCollapsibleButton.enabled
    panel.scene.RemoveNode(three[0])
    assert panel.ui.applyButton.text == "&Apply"
    assert "'CT head' was removed during the fusion" in panel.ui.progressLabel.text
    assert len(slicer.util.getNodesByClass("vtkMRMLVolumeNode")) == count - 1


def test_closing_the_scene_in_mid_run_leaves_no_row(panel, three):
    add(panel, three[0])
    panel.apply()
    panel.panel.stop()
    panel.panel.setParameters(None)
    panel.scene.Clear(False)
    assert rows(panel) == []
    assert panel.panel.further.selectors == []


def test_rows_come_back_with_what_a_scene_holds(panel, three):
    row = add(panel, three[0])
    pick(row.furtherWindowComboBox, Window, Window.BONE)
    panel.panel.setParameters(None)
    assert rows(panel) == []
    panel.ui.furtherCollapsibleButton.collapsed = True
    panel.panel.setParameters(panel.parameters)
    (again,) = rows(panel)
    assert again.selector.currentNode() is three[0]
    assert again._widgets.furtherWindowComboBox.currentIndex == list(Window).index(Window.BONE)
    assert not panel.ui.furtherCollapsibleButton.collapsed, "what is fused is not out of sight"


def test_removing_the_first_of_two_rows_leaves_the_second_one(panel, three):
    for node in three:
        add(panel, node)
    first = rows(panel)[0]._widgets
    pick(first.furtherColourComboBox, Colour, Colour.GREY)
    first.furtherRemoveButton.click()
    (left,) = panel.parameters.furtherVolumes
    assert (left.volume, left.colour) == (three[1], Colour.AUTOMATIC)
    (row,) = rows(panel)
    assert row.selector.currentNode() is three[1]
    assert row._widgets.furtherLabel.text == "Third volume:"


def test_another_patients_volume_is_asked_about_and_warned_of(panel, three, monkeypatch):
    asked, answers = [], [False, True]
    monkeypatch.setattr(
        slicer.util,
        "confirmYesNoDisplay",
        lambda text, **_: asked.append(text) or answers[len(asked) - 1],
        raising=False,
    )
    panel.tellPatient(panel.pair[0], "DOE^JANE", "A1", "19500102", "20240305")
    panel.tellPatient(three[0], "ROE^RICHARD", "B2", "19610708", "20240306")
    panel.pair[0].Modified()
    add(panel, three[0])
    assert "ROE RICHARD, ID B2" in rows(panel)[0]._widgets.furtherFactsLabel.text
    panel.apply()
    assert "Third volume: ROE RICHARD, ID B2, born 1961-07-08" in asked[0]
    assert panel.ui.applyButton.text == "&Apply", "no: nothing runs"
    panel.applyAndWait()
    assert "Different patients" in panel.ui.resultLabel.text


def test_a_transform_node_lays_a_further_volume(panel, three):
    expected = inTheLibrary(*panel.pair, three[0])
    row = add(panel, three[0])
    three[0].SetOrigin(2.0, -3.0, 1.0)
    transform = panel.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Back")
    matrix = np.eye(4)
    matrix[:3, 3] = (-2.0, 3.0, -1.0)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    assert row.furtherTransformSelector.isHidden()
    pick(row.furtherAlignmentComboBox, AlignmentChoice, AlignmentChoice.TRANSFORM)
    assert not row.furtherTransformSelector.isHidden()
    assert "Third volume: Choose the transform that takes it" in panel.ui.applyButton.toolTip
    row.furtherTransformSelector.setCurrentNode(transform)
    assert panel.ui.applyButton.enabled
    np.testing.assert_array_equal(fused(panel), expected)
    assert "Third volume: Aligned by the transform" in panel.ui.resultLabel.text
    panel.scene.RemoveNode(transform)
    assert panel.parameters.furtherVolumes[0].transform is None
    assert not panel.ui.applyButton.enabled


def test_volumes_that_do_not_overlap_are_refused_by_their_place(panel, three):
    three[0].SetOrigin(900.0, 0.0, 0.0)
    add(panel, three[0])
    assert "Third volume: The volumes do not overlap in space" in panel.ui.applyButton.toolTip


def test_no_slice_is_previewed_before_a_further_volume_is_registered(panel, three):
    row = add(panel, three[0])
    assert panel.ui.previewButton.enabled
    pick(row.furtherAlignmentComboBox, AlignmentChoice, AlignmentChoice.RIGID)
    assert not panel.ui.previewButton.enabled
    assert "Third volume: Register first" in panel.ui.previewButton.toolTip


def test_what_was_registered_is_used_again_with_one_click(panel, three):
    row = add(panel, three[0])
    panel.applyAndWait()
    node = panel.parameters.outputVolume
    transform = panel.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Found")
    tellRegistered(node, transform)
    pick(row.furtherAlignmentComboBox, AlignmentChoice, AlignmentChoice.RIGID)
    assert "Third volume: The registration passed." in panel.ui.resultLabel.text
    assert "Use this transform" in panel.ui.previewButton.toolTip
    assert not panel.ui.useTransformButton.isHidden()
    panel.ui.useTransformButton.click()
    (choice,) = panel.parameters.furtherVolumes
    assert (choice.alignment, choice.transform) == (AlignmentChoice.TRANSFORM, transform)
    assert panel.parameters.alignment is AlignmentChoice.RESAMPLE, "it was not registered"
    assert panel.ui.useTransformButton.isHidden()


def tellRegistered(node, transform) -> None:
    """What a run with a registration of the third volume leaves in the scene."""
    report = json.loads(node.GetAttribute("MedFusion.Parameters"))
    quality = {"verdict": "pass", "reason": "The heads lie on each other."}
    report["further"][0]["registration"] = {"kind": "rigid", "quality": quality}
    node.SetAttribute("MedFusion.Parameters", json.dumps(report))
    node.SetNodeReferenceID("MedFusion.FurtherTransform1", transform.GetID())


def test_a_head_that_lies_apart_is_told_before_and_after_it_is_fused(panel):
    panel.chooseSamplePair()
    reference, apart = panel.parameters.referenceVolume, panel.parameters.otherVolume
    same = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(reference) // 2, name="T2")
    same.CopyOrientation(reference)
    panel.parameters.otherVolume = same
    add(panel, apart)
    panel.wait(lambda: "Third volume: These heads do not lie on" in panel.ui.warningsLabel.text)
    panel.applyAndWait()
    report = panel.panel.quality.report
    assert report["further"][0]["quick_check"]["verdict"] == APART
    assert "Third volume: Fused as they lay: These heads" in panel.ui.resultLabel.text


def test_fused_volumes_are_offered_where_they_are_asked_for_and_leave_no_neighbour(panel, three):
    panel.applyAndWait()
    first = panel.parameters.outputVolume
    row = add(panel, three[0])
    assert first not in row.furtherSelector.widget.nodes()
    panel.ui.offerFusedCheckBox.click()
    row.furtherSelector.setCurrentNode(first)
    assert panel.parameters.furtherVolumes[0].volume is first
    panel.ui.offerFusedCheckBox.click()
    assert panel.parameters.furtherVolumes[0].volume is None


def test_an_output_that_is_a_further_volume_disables_apply(panel, three):
    panel.applyAndWait()
    output = panel.parameters.outputVolume
    panel.ui.offerFusedCheckBox.click()
    row = add(panel, output)
    pick(row.furtherColourComboBox, Colour, Colour.GREY)
    panel.parameters.outputVolume = output
    assert "one of the inputs" in panel.ui.applyButton.toolTip


def test_another_study_begins_without_the_further_volumes_of_the_last_one(panel, three):
    for node in panel.pair:
        panel.tellPatient(node, "DOE^JANE", "A1", "19500102", "20240305")
    add(panel, three[0])
    panel.ui.studyButton.click()
    assert "Chosen" in panel.ui.studyLabel.text
    assert panel.parameters.furtherVolumes == []


@pytest.fixture(scope="module")
def rowFile(repository):
    return ElementTree.parse(repository / "MedFusion" / "Resources" / "UI" / "FurtherVolume.ui")


def test_every_widget_of_a_row_says_what_it_is_for(rowFile):
    for widget in rowFile.iter("widget"):
        names = {element.get("name") for element in widget.findall("property")}
        isCaption = widget.get("class") == "QLabel" and "text" in names
        assert isCaption or "toolTip" in names, widget.get("name")


def test_every_widget_that_the_code_of_a_row_names_exists(rowFile, repository):
    path = repository / "MedFusionLib" / "slicer_app" / "panel" / "further.py"
    code = path.read_text(encoding="utf-8")
    named = set(re.findall(r'widgets\.(\w+)|"(further\w+ComboBox)"', code))
    known = {widget.get("name") for widget in rowFile.iter("widget")}
    assert {one or two for one, two in named} <= known


def test_every_node_selector_of_a_row_gets_the_scene(rowFile):
    selectors = {
        widget.get("name")
        for widget in rowFile.iter("widget")
        if widget.get("class") == "qMRMLNodeComboBox"
    }
    connected = {
        connection.findtext("receiver")
        for connection in rowFile.iter("connection")
        if connection.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }
    assert selectors == connected


def test_blend_shows_the_source_that_is_picked_beside_the_reference(panel, three):
    ui = panel.ui
    assert ui.besideComboBox.isHidden()
    panel.addRedView()
    first, second = add(panel, three[0]), add(panel, three[1])
    pick(first.furtherModalityComboBox, Modality, Modality.CT)
    pick(second.furtherModalityComboBox, Modality, Modality.MR)
    assert offeredBeside(ui) == [
        "Other volume: FDG PET",
        "Third volume: CT head",
        "Fourth volume: SPECT of the head",
    ]
    assert panel.panel.views.blending.nodes() == (*panel.pair, None)
    ui.besideComboBox.setCurrentIndex(1)
    ui.besideComboBox.activated.emit(1)
    assert panel.panel.views.blending.nodes() == (panel.pair[0], three[0], None)
    fused(panel)
    node = panel.parameters.outputVolume
    assert panel.panel.views.shownNodes() == (panel.pair[0], three[0], node)
    panel.scene.RemoveNode(three[0])
    panel.wait(lambda: panel.panel.views.shownNodes()[1] is panel.pair[1])
    panel.wait(lambda: "Third volume: CT head" not in offeredBeside(ui))


def offeredBeside(ui) -> list[str]:
    return [ui.besideComboBox.itemText(index) for index in range(ui.besideComboBox.count)]
