"""The legend beside a fused node: the map's own colours, and uptake in its unit."""

from __future__ import annotations

import numpy as np
import pytest
import slicer

from MedFusionLib.slicer_app.scene.colour_legend import (
    legendOf,
    renewLegends,
    scaleOf,
    uptakeColours,
)
from MedFusionLib.slicer_app.scene.mrml import addVolumeNode, fusedNodeFromVolume, fuseNodes
from MedFusionLib.slices.colour import apply_colour_map
from MedFusionLib.volumes.volume import Volume


@pytest.fixture
def nodes(scene):
    voxels = np.random.default_rng(9).integers(0, 900, (3, 20, 22)).astype(np.int16)
    volume = Volume(voxels, (1, 1, 1), (0, 0, 0))
    return addVolumeNode(scene, volume, "head T1"), addVolumeNode(scene, volume, "head SPECT")


def fused(nodes, output=None, **options):
    return fuseNodes(*nodes, output, method="maximum", device="cpu", **options)


def test_a_fused_node_in_colour_has_a_legend_with_the_uptake_and_its_unit(nodes):
    node, report = fused(nodes, window_other=(100.0, 700.0))
    legend, scale = legendOf(node), scaleOf(node)
    assert legend.GetTitleText() == report["other"]["unit"] == "counts"
    assert legend.GetPrimaryDisplayNode() is scale
    assert (scale.GetWindowLevelMin(), scale.GetWindowLevelMax()) == (100, 700)
    assert legend.GetVisibility()


def test_the_views_show_the_fused_colours_as_they_are_beside_the_legend(nodes):
    node, _report = fused(nodes)
    first = node.GetDisplayNode()
    assert node.GetVolumeDisplayNode() is first
    assert first not in (legendOf(node), scaleOf(node))
    first.GetOutputImageDataConnection().GetProducer().Update()
    shown = first.GetOutputImageData()
    seen = [shown.GetScalarComponentAsDouble(11, 10, 1, c) for c in range(3)]
    assert seen == slicer.util.arrayFromVolume(node)[1, 10, 11].tolist()


def test_the_colour_node_holds_the_map_that_fuse_paints_with_and_is_made_once(scene, nodes):
    node, _report = fused(nodes)
    table = scaleOf(node).GetColorNode()
    assert table is uptakeColours(scene, "rainforest")
    lookup = table.GetLookupTable()
    seen = [lookup.GetTableValue(index)[:3] for index in range(lookup.GetNumberOfTableValues())]
    places = np.linspace(0, 1, len(seen), dtype=np.float32)
    np.testing.assert_allclose(seen, apply_colour_map(places, "rainforest"), atol=0.6 / 255)


def test_a_second_fusion_into_the_node_updates_its_legend(nodes):
    node, _report = fused(nodes)
    before = (node.GetNumberOfDisplayNodes(), legendOf(node))
    fused(nodes, node, window_other=(0.0, 50.0), colour="hot")
    assert (node.GetNumberOfDisplayNodes(), legendOf(node)) == before
    assert scaleOf(node).GetWindowLevelMax() == 50
    assert scaleOf(node).GetColorNode().GetName() == "MedFusion hot"


def test_a_grey_result_has_no_legend_and_colours_without_a_scale_lose_theirs(scene, nodes):
    grey, _report = fused(nodes, colour="grey")
    assert legendOf(grey) is None
    node, report = fused(nodes)
    gone = (legendOf(node).GetID(), scaleOf(node).GetID())
    array = slicer.util.arrayFromVolume(node).copy()
    inOwn = {**report, "other": {**report["other"], "colour": "own"}}
    fusedNodeFromVolume(Volume(array, (1, 1, 1), (0, 0, 0)), inOwn, *nodes, node)
    assert legendOf(node) is None
    assert all(scene.GetNodeByID(one) is None for one in gone)


def test_two_functional_volumes_have_a_legend_each_and_one_of_them_alone_has_one(scene, nodes):
    values = slicer.util.arrayFromVolume(nodes[1])
    pet = addVolumeNode(scene, Volume(values // 2, (1, 1, 1), (0, 0, 0)), "head PET")
    windows = [(100.0, 700.0), (0.0, 300.0)]
    node, report = fused(nodes, furtherNodes=[pet], window_other=windows)
    for number, (name, window) in enumerate(zip(("red", "blue"), windows, strict=True)):
        scale = scaleOf(node, number)
        assert scale.GetColorNode() is uptakeColours(scene, name)
        assert (scale.GetWindowLevelMin(), scale.GetWindowLevelMax()) == window
        assert legendOf(node, number).GetPrimaryDisplayNode() is scale
    titles = [legendOf(node, number).GetTitleText() for number in range(2)]
    assert titles == ["SPECT counts", f"PET {report['further'][0]['unit']}"]
    places = [legendOf(node, number).GetPosition() for number in range(2)]
    size = legendOf(node).GetSize()[1]
    bottoms = [(1 - size) * place[1] for place in places]
    assert bottoms[0] - bottoms[1] >= size, "they do not lie over each other"
    second = (legendOf(node, 1).GetID(), scaleOf(node, 1).GetID())
    fused(nodes, node, window_other=windows[0])
    assert legendOf(node).GetTitleText() == "counts"
    assert scaleOf(node).GetColorNode() is uptakeColours(scene, "rainforest")
    assert legendOf(node, 1) is None
    assert all(scene.GetNodeByID(one) is None for one in second)


def test_a_slicer_without_legends_shows_the_fused_node_all_the_same(nodes, monkeypatch):
    monkeypatch.delattr(slicer, "vtkMRMLColorLegendDisplayNode")
    node, _report = fused(nodes)
    assert node.GetNumberOfDisplayNodes() == 1


def test_the_scene_alone_may_know_what_a_legend_is(scene, nodes, monkeypatch):
    """As in a Slicer whose module Colors does not tell Python of the class."""
    scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    monkeypatch.delattr(slicer, "vtkMRMLColorLegendDisplayNode")
    node, _report = fused(nodes)
    assert legendOf(node).GetTitleText() == "counts"


def test_a_view_is_told_of_its_layers_as_if_a_user_had_chosen_them(scene):
    view = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    told = []
    view.AddObserver("ModifiedEvent", lambda *_: told.append(view.GetInteractionFlags()))
    renewLegends(view)
    assert told == [view.BackgroundVolumeFlag | view.ForegroundVolumeFlag]
    assert view.GetInteractionFlags() == 0
    assert not view.GetInteracting(), "linked views stay as they are"


def test_the_users_nodes_keep_their_colours(nodes):
    before = [node.GetDisplayNode().GetColorNodeID() for node in nodes]
    fused(nodes)
    assert [node.GetDisplayNode().GetColorNodeID() for node in nodes] == before
    assert all(node.GetNumberOfDisplayNodes() == 1 for node in nodes)
