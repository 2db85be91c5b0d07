"""Never the wrong node: what the panel does when a node that it uses leaves the scene, or changes.

The selectors jump to another node by themselves, as Slicer's do.
"""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
pytest.importorskip("PySide6.QtWidgets", reason="needs PySide6")

from MedFusionLib.slicer_app.choices import AlignmentChoice  # noqa: E402
from MedFusionLib.slicer_app.views.aligned_other import AlignedOther  # noqa: E402


@pytest.fixture
def pair(panel):
    """A chosen pair of one patient, and the volumes and transforms of somebody else beside it."""
    before = [
        slicer.util.addVolumeFromArray(voxels(n), name=f"Earlier patient {n}") for n in (1, 2)
    ]
    panel.choosePair()
    after = [slicer.util.addVolumeFromArray(voxels(n), name=f"Next patient {n}") for n in (3, 4)]
    for name in ("First", "Second", "Third"):
        panel.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    panel.bystanders = [*before, *after]
    return panel.parameters.referenceVolume, panel.parameters.otherVolume


def voxels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 900, (12, 24, 28)).astype(np.int16)


def transform(panel, name: str):
    return panel.scene.GetFirstNodeByName(name)


@pytest.mark.parametrize("name", ["referenceVolume", "otherVolume"])
def test_a_deleted_input_leaves_nothing_chosen_and_apply_says_so(panel, pair, name):
    panel.scene.RemoveNode(getattr(panel.parameters, name))
    assert getattr(panel.parameters, name) is None
    assert panel.selectors[name].currentNode() is None
    assert not panel.ui.applyButton.enabled
    assert "Choose" in panel.ui.applyButton.toolTip
    assert panel.parameters.inputsWereDeleted, "so that none is chosen when the module is entered"


@pytest.mark.parametrize("name", ["alignmentTransform", "pointerTransform"])
def test_a_deleted_transform_leaves_none_chosen(panel, pair, name):
    setattr(panel.parameters, name, transform(panel, "Second"))
    panel.scene.RemoveNode(transform(panel, "Second"))
    assert getattr(panel.parameters, name) is None
    assert panel.selectors[name].currentNode() is None


def test_a_deleted_fused_volume_makes_room_for_a_new_one_and_touches_no_other(panel, pair):
    panel.applyAndWait()
    kept = [slicer.util.arrayFromVolume(node).copy() for node in (*panel.bystanders, *pair)]
    panel.scene.RemoveNode(panel.parameters.outputVolume)
    assert panel.parameters.outputVolume is None
    panel.applyAndWait()
    assert panel.parameters.outputVolume not in (*panel.bystanders, *pair)
    for node, values in zip((*panel.bystanders, *pair), kept, strict=True):
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), values)


def test_only_fused_volumes_are_offered_as_output_and_none_as_input(panel, pair):
    assert panel.selectors["outputVolume"].nodes() == []
    panel.applyAndWait()
    fused = panel.parameters.outputVolume
    assert panel.selectors["outputVolume"].nodes() == [fused]
    assert fused not in panel.selectors["otherVolume"].nodes()
    panel.ui.offerFusedCheckBox.click()
    assert fused in panel.selectors["otherVolume"].nodes()
    panel.parameters.otherVolume = fused
    panel.ui.offerFusedCheckBox.click()
    assert fused not in panel.selectors["otherVolume"].nodes()
    assert panel.parameters.otherVolume is None, "and no neighbour is chosen in its place"


def test_an_original_volume_as_output_disables_apply_whoever_has_chosen_it(panel, pair):
    panel.parameters.__dict__["outputVolume"] = panel.bystanders[0]
    panel.panel.refresh()
    assert not panel.ui.applyButton.enabled
    assert "not made by MedFusion" in panel.ui.applyButton.toolTip


def test_another_input_begins_a_new_output_and_the_old_one_keeps_what_it_is(panel, pair):
    panel.applyAndWait()
    first = panel.parameters.outputVolume
    values = slicer.util.arrayFromVolume(first).copy()
    panel.parameters.referenceVolume = panel.bystanders[2]
    assert panel.parameters.outputVolume is None
    panel.applyAndWait()
    assert panel.parameters.outputVolume is not first
    assert panel.parameters.outputVolume.GetName() == "Next patient 3 + FDG PET fused"
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(first), values)
    assert first.GetName() == "T1 + FDG PET fused"


def test_an_old_output_that_the_user_picks_again_is_renamed_for_its_new_inputs(panel, pair):
    panel.applyAndWait()
    first = panel.parameters.outputVolume
    panel.parameters.referenceVolume = panel.bystanders[2]
    panel.parameters.outputVolume = first
    panel.applyAndWait()
    assert panel.parameters.outputVolume is first
    assert first.GetName() == "Next patient 3 + FDG PET fused"
    assert first.GetNodeReference("MedFusion.Reference") is panel.bystanders[2]


def test_a_deleted_pointer_stops_the_navigation_and_says_so(panel, pair):
    sliceNode, _ = panel.addRedView()
    panel.applyAndWait()
    tip = np.eye(4)
    tip[:3, 3] = (8.0, 8.0, 5.0)
    transform(panel, "Second").SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(tip))
    panel.parameters.pointerTransform = transform(panel, "Second")
    panel.ui.followPointerCheckBox.click()
    assert "mm" in panel.ui.distanceLabel.text
    offset = sliceNode.GetSliceOffset()
    panel.scene.RemoveNode(transform(panel, "Second"))
    assert not panel.ui.followPointerCheckBox.checked
    assert "pointer was deleted" in panel.ui.distanceLabel.text
    moved = np.eye(4)
    moved[2, 3] = 7.5
    for name in ("First", "Third"):
        node = transform(panel, name)
        node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(moved))
    assert sliceNode.GetSliceOffset() == offset
    panel.panel.refresh()
    assert "pointer was deleted" in panel.ui.distanceLabel.text


def test_an_input_that_is_deleted_in_mid_run_ends_the_run_at_once(panel, pair):
    panel.apply()
    panel.scene.RemoveNode(pair[1])
    assert panel.ui.applyButton.text == "&Apply"
    assert not panel.ui.applyButton.enabled
    assert "was removed during the fusion" in panel.ui.progressLabel.text


def test_a_result_is_kept_whose_inputs_are_no_longer_chosen_when_it_comes(panel, pair):
    panel.apply()
    panel.parameters.referenceVolume = panel.bystanders[0]
    panel.wait(lambda: panel.ui.applyButton.text == "&Apply")
    assert panel.parameters.outputVolume is None
    fused = panel.panel.result.node
    assert fused.GetNodeReference("MedFusion.Reference") is pair[0]
    assert "not a fusion of the volumes that are chosen" in panel.ui.resultLabel.text
    kept, name = slicer.util.arrayFromVolume(fused).copy(), fused.GetName()
    panel.applyAndWait()
    assert panel.parameters.outputVolume not in (None, fused)
    assert fused.GetName() == name
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(fused), kept)


def test_a_volume_that_is_chosen_twice_is_refused_and_watched_once(panel, pair):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        panel.parameters.otherVolume = pair[0]
    assert "two different volumes" in panel.ui.applyButton.toolTip


def test_a_volume_that_loses_its_voxels_disables_apply(panel, pair):
    pair[1].SetAndObserveImageData(None)
    panel.wait(lambda: not panel.ui.applyButton.enabled, 5)
    assert "holds no voxels" in panel.ui.applyButton.toolTip


def test_deleting_everything_at_once_leaves_nothing_chosen(panel, pair):
    panel.applyAndWait()
    panel.scene.StartState(slicer.vtkMRMLScene.BatchProcessState)
    for node in (*pair, panel.parameters.outputVolume, panel.bystanders[0]):
        panel.scene.RemoveNode(node)
    panel.scene.EndState(slicer.vtkMRMLScene.BatchProcessState)
    chosen = (panel.parameters.referenceVolume, panel.parameters.otherVolume)
    assert (*chosen, panel.parameters.outputVolume) == (None, None, None)
    assert not panel.ui.compareButton.enabled


def registered(panel, pair):
    """A fused volume of the pair, as a run with a rigid registration leaves it in the scene."""
    panel.applyAndWait()
    fused = panel.parameters.outputVolume
    report = json.loads(fused.GetAttribute("MedFusion.Parameters"))
    quality = {"verdict": "doubtful", "reason": "Only a part of the head is covered."}
    report["registration"] = {"kind": "rigid", "quality": quality}
    fused.SetAttribute("MedFusion.Parameters", json.dumps(report))
    fused.SetNodeReferenceID("MedFusion.Transform", transform(panel, "Second").GetID())
    panel.parameters.alignment = AlignmentChoice.RIGID
    panel.panel.refresh()
    return fused


def test_one_click_uses_the_found_transform_from_then_on(panel, pair):
    registered(panel, pair)
    assert "The registration is doubtful: look twice. Only a part" in panel.ui.resultLabel.text
    assert "Use this transform" in panel.ui.previewButton.toolTip
    assert not panel.ui.useTransformButton.isHidden()
    panel.ui.useTransformButton.click()
    assert panel.parameters.alignment is AlignmentChoice.TRANSFORM
    assert panel.parameters.alignmentTransform is transform(panel, "Second")
    assert panel.ui.previewButton.enabled
    assert panel.ui.useTransformButton.isHidden()
    panel.parameters.otherVolume = panel.bystanders[0]
    assert panel.panel.result.foundTransform is None, "it was found for another volume"


def test_the_comparison_shows_the_other_volume_as_aligned_and_leaves_it_where_it_is(panel, pair):
    fused = registered(panel, pair)
    count = panel.scene.GetNumberOfNodes()
    aligned = AlignedOther()
    node = aligned.nodeFor(fused, pair[1])
    assert node is not pair[1]
    assert node.GetParentTransformNode() is transform(panel, "Second")
    assert node.GetImageData() is pair[1].GetImageData()
    assert node.GetHideFromEditors() and not node.GetSaveWithScene()
    assert pair[1].GetParentTransformNode() is None
    aligned.forget()
    assert panel.scene.GetNumberOfNodes() == count
    fused.SetNodeReferenceID("MedFusion.Transform", None)
    assert aligned.nodeFor(fused, pair[1]) is pair[1]


def test_compare_and_blend_show_what_the_fused_volume_was_made_from(panel, pair):
    panel.applyAndWait()
    fused = panel.parameters.outputVolume
    panel.parameters.referenceVolume = panel.bystanders[2]
    panel.parameters.outputVolume = fused
    assert panel.panel.views.shownNodes() == (*pair, fused)
    panel.scene.RemoveNode(pair[0])
    panel.wait(lambda: not panel.ui.blendButton.enabled, 2)
    assert "was deleted" in panel.ui.blendButton.toolTip
