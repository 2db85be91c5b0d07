"""The section View with real nodes: blending before a run, navigating, giving the views back."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
pytest.importorskip("PySide6.QtWidgets", reason="needs PySide6")

from MedFusionLib.slicer_app.views.layers import layersOf, shownLayers  # noqa: E402

INSIDE = (10.0, 8.0, 6.25)
FLAGS = (
    slicer.vtkMRMLSliceCompositeNode.BackgroundVolumeFlag
    | slicer.vtkMRMLSliceCompositeNode.ForegroundVolumeFlag
)


@pytest.fixture
def red(panel):
    """The red view, and what the user has in it: somebody's volume, zoomed and turned."""
    sliceNode, compositeNode = panel.addRedView()
    own = slicer.util.addVolumeFromArray(np.zeros((5, 6, 7), np.int16), name="Own")
    compositeNode.SetBackgroundVolumeID(own.GetID())
    compositeNode.SetLinkedControl(1)
    sliceNode.SetOrientation("Sagittal")
    sliceNode.SetDimensions(300, 200, 1)
    sliceNode.SetFieldOfView(123.0, 82.0, 1.0)
    sliceNode.SetXYZOrigin(4.0, -3.0, 0.0)
    panel.choosePair()
    panel.own = own
    return sliceNode, compositeNode


def seen(red):
    """Everything that leaving has to give back."""
    sliceNode, compositeNode = red
    return (
        slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS()).tolist(),
        sliceNode.GetFieldOfView(),
        sliceNode.GetXYZOrigin(),
        sliceNode.GetOrientation(),
        layersOf(compositeNode),
        compositeNode.GetLinkedControl(),
        slicer.app.layoutManager().layout,
    )


def names(compositeNode):
    return [node.GetName() for node in shownLayers(compositeNode)]


def addPointer(panel, place=INSIDE):
    pointer = panel.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Pointer")
    move(pointer, place)
    panel.parameters.pointerTransform = pointer
    return pointer


def move(pointer, place):
    matrix = np.eye(4)
    matrix[:3, 3] = place
    pointer.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))


def viewTexts():
    return slicer.app.layoutManager().view.texts()


def settle(panel):
    """One turn of the event loop, in which views get their sizes."""
    for _ in range(3):
        panel._application.processEvents()


def test_one_click_blends_both_inputs_before_any_run_and_another_gives_the_view_back(panel, red):
    before, count = seen(red), panel.scene.GetNumberOfNodes()
    panel.ui.blendButton.click()
    assert names(red[1]) == ["T1 as blended", "FDG PET as blended"]
    assert layersOf(red[1])[1][1] == 0.5
    assert panel.ui.blendButton.checked
    panel.ui.blendButton.click()
    settle(panel)
    assert seen(red) == before
    assert not panel.ui.blendButton.checked
    # MedFusion's colours stay in Slicer's list of colours.
    assert panel.scene.GetNumberOfNodes() == count + 1


def test_the_opacity_acts_at_once_and_on_a_blend_only(panel, red):
    panel.ui.blendButton.click()
    panel.panel.views.blending.onOtherOpacity(0.85)
    assert layersOf(red[1])[1][1] == 0.85
    panel.ui.blendButton.click()
    own = layersOf(red[1])
    panel.panel.views.blending.onOtherOpacity(0.1)
    assert layersOf(red[1]) == own


def test_a_blend_follows_what_is_chosen(panel, red):
    panel.ui.blendButton.click()
    third = slicer.util.addVolumeFromArray(np.ones((4, 5, 6), np.int16), name="CT")
    panel.parameters.otherVolume = third
    assert names(red[1]) == ["T1 as blended", "CT as blended"]
    warp = panel.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Aligned")
    third.SetAndObserveTransformNodeID(warp.GetID())
    panel.panel.refresh()
    assert shownLayers(red[1])[1].GetParentTransformNode() is warp
    panel.parameters.otherVolume = None
    settle(panel)
    assert names(red[1]) == ["Own"], "one volume is no blend"
    assert not panel.ui.blendButton.enabled
    assert "Choose a reference and an other volume" in panel.ui.blendButton.toolTip


@pytest.mark.parametrize("name", ["referenceVolume", "otherVolume"])
def test_a_blended_volume_that_is_deleted_ends_the_blend(panel, red, name):
    panel.ui.blendButton.click()
    panel.scene.RemoveNode(getattr(panel.parameters, name))
    settle(panel)
    assert panel.panel.views.mode is None
    assert names(red[1]) == ["Own"]


def test_a_fusion_comes_on_top_of_its_blend_and_has_its_own_opacity(panel, red):
    panel.ui.blendButton.click()
    panel.applyAndWait()
    panel.wait(lambda: len(names(red[1])) == 3)
    settle(panel)
    fused = panel.parameters.outputVolume
    assert shownLayers(red[1])[2] is fused
    panel.panel.views.blending.onFusedOpacity(0.9)
    assert [opacity for _, opacity in layersOf(red[1])] == [1.0, 0.5, 0.9]
    panel.ui.blendButton.click()
    settle(panel)
    assert names(red[1]) == ["Own"]


def test_without_a_way_of_viewing_a_result_is_shown_where_the_views_are(panel, red):
    panel.applyAndWait()
    panel.wait(lambda: names(red[1]) == ["T1 + FDG PET fused"])
    assert panel.panel.views.mode is None


def test_a_view_of_a_fused_volume_says_what_it_is_and_no_other_does(panel, red):
    panel.applyAndWait()
    panel.wait(lambda: viewTexts() == ["T1\nFDG PET\nfused by average\nResearch use only"])
    panel.parameters.otherVolume.SetName("Renamed")
    assert "T1\nRenamed\n" in viewTexts()[0]
    red[1].SetBackgroundVolumeID(panel.own.GetID())
    assert viewTexts() == []
    fused = panel.parameters.outputVolume
    red[1].SetForegroundVolumeID(fused.GetID())
    red[1].SetForegroundOpacity(0.4)
    assert "Research use only" in viewTexts()[0]
    red[1].SetForegroundOpacity(0.0)
    assert viewTexts() == []
    red[1].SetForegroundOpacity(0.4)
    panel.scene.RemoveNode(panel.parameters.otherVolume)
    panel.panel.refresh()
    assert "deleted volume" in viewTexts()[0]
    panel.scene.RemoveNode(fused)
    assert viewTexts() == []


def test_legends_hear_of_layers_that_code_has_chosen(panel, red):
    told = []
    red[1].AddObserver("ModifiedEvent", lambda *_: told.append(red[1].GetInteractionFlags()))
    red[1].SetForegroundVolumeID(panel.own.GetID())
    assert [flags for flags in told if flags] == [FLAGS]
    red[1].SetLinkedControl(0)
    assert len([flags for flags in told if flags]) == 1, "no layer has changed"


def test_a_previewed_slice_says_so_too(panel, red):
    panel.ui.previewButton.click()
    panel.wait(lambda: "fused in" in panel.ui.previewLabel.text)
    assert viewTexts() == ["T1\nFDG PET\nfused by average\nResearch use only"]


def test_leaving_navigate_gives_the_view_back_and_lets_go_of_the_pointer(panel, red):
    panel.applyAndWait()
    panel.wait(lambda: names(red[1]) == ["T1 + FDG PET fused"])
    before = seen(red)
    pointer = addPointer(panel)
    panel.ui.navigateButton.click()
    panel.ui.followPointerCheckBox.click()
    panel.ui.zoomComboBox.currentIndex = 1
    move(pointer, (12.0, 9.0, 5.0))
    assert red[0].GetFieldOfView()[:2] == pytest.approx((60.0, 40.0))
    assert red[0].GetSliceToRAS().GetElement(1, 3) == pytest.approx(9.0), "centred on the tip"
    panel.ui.navigateButton.click()
    settle(panel)
    assert seen(red) == before
    assert not panel.ui.followPointerCheckBox.checked
    assert panel.ui.zoomComboBox.currentText == "Kept as it is"
    move(pointer, (1.0, 1.0, 1.0))
    assert seen(red) == before


def test_following_that_began_before_goes_on_after_leaving(panel, red):
    panel.applyAndWait()
    pointer = addPointer(panel)
    panel.ui.followPointerCheckBox.click()
    panel.ui.navigateButton.click()
    panel.ui.navigateButton.click()
    settle(panel)
    assert panel.ui.followPointerCheckBox.checked
    move(pointer, (14.0, 9.0, 5.0))
    assert red[0].GetSliceToRAS().GetElement(0, 3) == pytest.approx(14.0)


def test_from_one_way_to_another_the_first_view_is_what_comes_back(panel, red):
    panel.applyAndWait()
    panel.wait(lambda: names(red[1]) == ["T1 + FDG PET fused"])
    before = seen(red)
    panel.ui.blendButton.click()
    panel.ui.navigateButton.click()
    assert panel.panel.views.mode.value == "navigate"
    assert names(red[1]) == ["T1 + FDG PET fused"]
    assert not panel.ui.blendButton.checked
    panel.ui.navigateButton.click()
    settle(panel)
    assert seen(red) == before


def test_outside_the_volume_is_large_and_red_in_the_panel_and_in_the_view(panel, red):
    panel.applyAndWait()
    pointer = addPointer(panel)
    panel.ui.followPointerCheckBox.click()
    assert panel.ui.alarmLabel.isHidden()
    move(pointer, (10.0, 8.0, 400.0))
    assert "OUTSIDE THE VOLUME" in panel.ui.alarmLabel.text
    assert "18pt" in panel.ui.alarmLabel.text and "#D93025" in panel.ui.alarmLabel.text
    assert not panel.ui.alarmLabel.isHidden()
    assert "OUTSIDE THE VOLUME" in viewTexts()
    assert "mm outside the volume" in panel.ui.distanceLabel.text
    move(pointer, INSIDE)
    assert panel.ui.alarmLabel.isHidden()
    assert "OUTSIDE THE VOLUME" not in viewTexts()


def test_a_lost_pointer_and_a_silent_one_are_told_without_being_asked(panel, red):
    panel.applyAndWait()
    pointer = addPointer(panel)
    panel.ui.followPointerCheckBox.click()
    assert "Tracked" in panel.ui.distanceLabel.text
    pointer.SetAttribute("TransformStatus", "MISSING")
    panel.wait(lambda: "POINTER LOST" in panel.ui.alarmLabel.text, 5)
    assert "the tracker says" in panel.ui.distanceLabel.text
    assert "MISSING" in panel.ui.distanceLabel.text
    assert "mm" not in panel.ui.distanceLabel.text, "no distance of a place that is not known"
    pointer.SetAttribute("TransformStatus", "OK")
    panel.wait(lambda: "NO NEW POSITION" in panel.ui.alarmLabel.text, 10)
    assert "NO NEW POSITION" in viewTexts()
    move(pointer, INSIDE)
    assert panel.ui.alarmLabel.isHidden()


def test_target_and_trajectory_are_told_beside_the_tip(panel, red):
    panel.applyAndWait()
    addPointer(panel)
    panel.ui.followPointerCheckBox.click()
    points = panel.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Targets")
    line = panel.scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "Path")
    panel.parameters.targetPoint, panel.parameters.trajectoryLine = points, line
    assert "no point yet" in panel.ui.distanceLabel.text
    assert "needs two points" in panel.ui.distanceLabel.text
    points.AddControlPoint(10.0, 8.0, 16.25, "tumor")
    line.AddControlPoint(13.0, 8.0, -3.75)
    line.AddControlPoint(13.0, 8.0, 26.25)
    move(panel.parameters.pointerTransform, INSIDE)
    assert "Target tumor: 10.0 mm away." in panel.ui.distanceLabel.text
    assert "3.0 mm beside it, 10.0 mm deep, 20.0 mm to the target" in panel.ui.distanceLabel.text
    assert "0° off" in panel.ui.distanceLabel.text


@pytest.mark.parametrize(
    ("field", "className", "sentence"),
    [
        ("targetPoint", "vtkMRMLMarkupsFiducialNode", "The target was deleted"),
        ("trajectoryLine", "vtkMRMLMarkupsLineNode", "The trajectory was deleted"),
    ],
)
def test_a_deleted_plan_leaves_none_chosen_and_says_so(panel, red, field, className, sentence):
    nodes = [panel.scene.AddNewNodeByClass(className, f"Node {n}") for n in (1, 2, 3)]
    for node in nodes:
        node.AddControlPoint(1, 2, 3)
        node.AddControlPoint(4, 5, 6)
    panel.applyAndWait()
    addPointer(panel)
    panel.ui.followPointerCheckBox.click()
    setattr(panel.parameters, field, nodes[1])
    assert panel.selectors[field].currentNode() is nodes[1]
    panel.scene.RemoveNode(nodes[1])
    assert getattr(panel.parameters, field) is None
    assert panel.selectors[field].currentNode() is None
    assert sentence in panel.ui.distanceLabel.text
    assert panel.ui.followPointerCheckBox.checked, "the pointer is still there"
    setattr(panel.parameters, field, nodes[2])
    assert sentence not in panel.ui.distanceLabel.text


def test_a_closed_scene_leaves_no_text_no_node_and_no_pointer(panel, red):
    panel.applyAndWait()
    panel.ui.blendButton.click()
    pointer = addPointer(panel, (10.0, 8.0, 400.0))
    panel.ui.followPointerCheckBox.click()
    panel.panel.stop()
    panel.panel.setParameters(None)
    assert viewTexts() == []
    assert panel.ui.alarmLabel.isHidden()
    assert not pointer.HasObserver(slicer.vtkMRMLTransformNode.TransformModifiedEvent)
    kept = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLVolumeNode")]
    assert not any("as blended" in name for name in kept)
    for button in (panel.ui.blendButton, panel.ui.navigateButton, panel.ui.compareButton):
        assert not button.checked
