"""The panel's landmarks and its list of methods, with real widgets and real markups nodes."""

from __future__ import annotations

import numpy as np
import pytest
import vtk

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
pytest.importorskip("PySide6.QtWidgets", reason="needs PySide6")

from MedFusionLib.methods import METHODS  # noqa: E402
from MedFusionLib.slicer_app.choices import AlignmentChoice  # noqa: E402

SPOTS = ((2.0, 3.0, 1.0), (20.0, 4.0, 2.0), (5.0, 18.0, 3.0), (9.0, 9.0, 10.0))


@pytest.fixture
def interaction(panel):
    """The nodes that hold Slicer's mouse mode, as the application has them."""
    logic = slicer.vtkMRMLApplicationLogic()
    logic.SetMRMLScene(panel.scene)
    yield logic.GetInteractionNode()
    logic.SetMRMLScene(None)


@pytest.fixture
def lists(panel):
    """A chosen pair, and a chosen list of four points on each volume."""
    panel.choosePair()
    nodes = [addPoints(panel.scene, name) for name in ("On the MR", "On the PET")]
    addPoints(panel.scene, "Somebody else's")
    panel.parameters.referenceLandmarks, panel.parameters.otherLandmarks = nodes
    return nodes


def addPoints(scene, name):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for number, spot in enumerate(SPOTS):
        node.AddControlPoint(vtk.vtkVector3d(*spot), str(number))
    return node


def test_the_distance_of_the_points_stands_in_the_result(panel, lists):
    lists[1].SetNthControlPointPosition(2, np.array(SPOTS[2]) + np.array((0, 0, 4)))
    assert panel.ui.landmarksLabel.text == "4 on the reference, 4 on the other volume."
    panel.applyAndWait()
    assert "Landmarks: 4 pairs lie 1.0 mm from each other on average" in panel.ui.resultLabel.text
    assert "4.0 mm at most" in panel.ui.resultLabel.text


@pytest.mark.parametrize("name", ["referenceLandmarks", "otherLandmarks"])
def test_a_deleted_list_leaves_none_chosen_and_apply_says_what_to_do(panel, lists, name):
    panel.scene.RemoveNode(getattr(panel.parameters, name))
    assert getattr(panel.parameters, name) is None
    assert panel.selectors[name].currentNode() is None
    assert "on one volume only" in panel.ui.applyButton.toolTip
    panel.parameters.referenceLandmarks = panel.parameters.otherLandmarks = None
    assert panel.ui.applyButton.enabled


def test_points_that_are_taken_away_are_seen_without_a_click(panel, lists):
    assert panel.ui.applyButton.enabled
    lists[0].RemoveNthControlPoint(0)
    panel.wait(lambda: not panel.ui.applyButton.enabled, 5)
    assert "on the reference: 3, on the other volume: 4" in panel.ui.applyButton.toolTip
    lists[0].AddControlPoint(vtk.vtkVector3d(*SPOTS[0]), "0")
    panel.wait(lambda: panel.ui.applyButton.enabled, 5)


def test_a_list_that_is_deleted_in_mid_run_ends_the_run_at_once(panel, lists):
    panel.apply()
    panel.scene.RemoveNode(lists[1])
    assert panel.ui.applyButton.text == "&Apply"
    assert "was removed during the fusion" in panel.ui.progressLabel.text


def test_a_list_that_would_not_move_with_its_volume_is_told(panel, lists):
    parent = panel.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Registration")
    panel.parameters.otherVolume.SetAndObserveTransformNodeID(parent.GetID())
    panel.wait(lambda: "will not move with it" in panel.ui.landmarksLabel.text, 5)
    assert "'On the PET' stands under another transform" in panel.ui.landmarksLabel.text
    lists[1].SetAndObserveTransformNodeID(parent.GetID())
    panel.wait(lambda: "will not move" not in panel.ui.landmarksLabel.text, 5)


def test_a_button_makes_a_list_and_lets_clicks_place_points_in_it(panel, interaction):
    assert not panel.ui.placeOnReferenceButton.enabled
    panel.choosePair()
    panel.ui.placeOnReferenceButton.click()
    made = panel.parameters.referenceLandmarks
    assert made.GetName() == "Landmarks on T1"
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    selection = panel.scene.GetSingletonNode("Singleton", "vtkMRMLSelectionNode")
    assert selection.GetActivePlaceNodeID() == made.GetID()
    assert panel.ui.placeOnReferenceButton.checked
    panel.ui.placeOnOtherButton.click()
    assert selection.GetActivePlaceNodeID() == panel.parameters.otherLandmarks.GetID()
    assert not panel.ui.placeOnReferenceButton.checked
    panel.ui.placeOnOtherButton.click()
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    panel.ui.placeOnReferenceButton.click()
    assert panel.parameters.referenceLandmarks is made, "no second list"


def test_the_button_comes_up_when_the_place_mode_ends_elsewhere(panel, interaction):
    panel.choosePair()
    panel.ui.placeOnReferenceButton.click()
    assert interaction.GetPlaceModePersistence() == 1
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    assert not panel.ui.placeOnReferenceButton.checked
    assert interaction.GetPlaceModePersistence() == 0, "as the user had it"
    panel.ui.placeOnReferenceButton.click()
    panel.scene.RemoveNode(panel.parameters.referenceLandmarks)
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    panel.ui.placeOnOtherButton.click()
    panel.panel.setParameters(None)
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform, "the scene closes"


def test_all_methods_are_listed_below_the_first_under_a_heading(panel):
    combo = panel.ui.methodComboBox
    texts = [combo.itemText(row) for row in range(combo.count)]
    heading = texts.index("More methods")
    assert not combo.model().item(heading).isEnabled()
    assert {name for name in texts if name in METHODS} == set(METHODS)
    assert all(METHODS[name].first_list for name in texts[: heading - 1])
    assert not any(METHODS[name].first_list for name in texts[heading + 1 :])


def test_the_list_and_the_parameter_node_name_one_method(panel):
    combo = panel.ui.methodComboBox
    assert combo.currentText == "average"
    combo.currentIndex = combo.findData("pyramid")
    assert panel.parameters.method == "pyramid"
    panel.parameters.method = "live"
    assert combo.currentText == "live"


def test_the_position_says_what_a_quick_look_has_found(panel):
    panel.chooseSamplePair()
    panel.wait(lambda: "Looking whether" in panel.ui.relationLabel.text)
    panel.wait(lambda: "Looking whether" not in panel.ui.relationLabel.text)
    assert "shifted by about" in panel.ui.warningsLabel.text


def test_without_its_package_the_deformable_alignment_says_how_to_get_it(panel, monkeypatch):
    from MedFusionLib.slicer_app.panel import inputs

    monkeypatch.setattr(inputs, "bendingInstalled", lambda: False)
    panel.choosePair()
    panel.parameters.alignment = AlignmentChoice.DEFORMABLE
    assert not panel.ui.applyButton.enabled
    assert "pip_install" in panel.ui.applyButton.toolTip
