"""Volumes over each other before any fusion, down to the pixels of Slicer's own slice pipeline."""

from __future__ import annotations

import numpy as np
import pytest
import vtk
from vtk.util.numpy_support import vtk_to_numpy

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from MedFusionLib.slicer_app.running.fusion_job import FusionRequest  # noqa: E402
from MedFusionLib.slicer_app.scene.colour_legend import legendOf  # noqa: E402
from MedFusionLib.slicer_app.scene.further_sources import FurtherSource  # noqa: E402
from MedFusionLib.slicer_app.scene.mrml import addVolumeNode, fuseNodes  # noqa: E402
from MedFusionLib.slicer_app.views.layer_blend import (  # noqa: E402
    SAMPLED_VOXELS,
    BlendLayers,
    pairOfFused,
    pairOfRequest,
)
from MedFusionLib.slicer_app.views.layers import (  # noqa: E402
    hasMoreLayers,
    layersOf,
    setLayers,
    shownLayers,
)
from MedFusionLib.slices.colour import apply_colour_map  # noqa: E402
from MedFusionLib.slices.intensity import choose_window  # noqa: E402
from MedFusionLib.volumes.volume import Volume  # noqa: E402

SIZE = 24


@pytest.fixture
def nodes(scene):
    """An MR that gets brighter to the left, and a PET that does to the back."""
    j, i = np.mgrid[:SIZE, :SIZE]
    voxels = [np.broadcast_to(40 * axis, (5, SIZE, SIZE)).astype(np.int16) for axis in (i, j)]
    return [
        addVolumeNode(scene, Volume(one.copy(), (1, 1, 1), (0, 0, 0)), name)
        for one, name in zip(voxels, ("T1", "FDG PET"), strict=True)
    ]


@pytest.fixture
def layers():
    layers = BlendLayers()
    yield layers
    layers.forget()


@pytest.fixture
def view(scene):
    """A slice logic that looks at the middle slice, not quite a pixel to a voxel."""
    application = slicer.vtkMRMLApplicationLogic()
    application.SetMRMLScene(scene)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    sliceNode = scene.CreateNodeByClass("vtkMRMLSliceNode")
    sliceNode.UnRegister(None)
    sliceNode.SetName("Red")
    sliceNode.SetLayoutName("Red")
    scene.AddNode(sliceNode)
    sliceNode.SetDimensions(SIZE, SIZE, 1)
    sliceNode.SetOrientation("Axial")
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    logic.SetSliceNode(sliceNode)
    yield logic
    # The scene is cleared before its logics go: the other way round, VTK crashes.
    scene.Clear(True)
    logic.SetMRMLScene(None)
    application.SetMRMLScene(None)


def pixels(logic) -> np.ndarray:
    """RGB (SIZE, SIZE, 3), the lowest row first, as VTK counts."""
    connection = logic.GetImageDataConnection()
    connection.GetProducer().Update()
    image = connection.GetProducer().GetOutputDataObject(connection.GetIndex())
    width, height, _ = image.GetDimensions()
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
    return values[..., :3].astype(float)


def voxelAt(logic, volumeNode, x: int, y: int) -> np.ndarray:
    """The index (i, j, k), with decimals, that a pixel of the view shows."""
    xyToRas, rasToIjk = logic.GetSliceNode().GetXYToRAS(), vtk.vtkMatrix4x4()
    volumeNode.GetRASToIJKMatrix(rasToIjk)
    return np.array(rasToIjk.MultiplyPoint(xyToRas.MultiplyPoint([x, y, 0, 1]))[:3])


def blended(view, layers, pair, opacity, fused=None):
    shown = [*layers.nodesFor(pair), *([fused] if fused else [])]
    opacities = [1.0, opacity, 0.5]
    composite = view.GetSliceCompositeNode()
    setLayers(composite, [(n.GetID(), o) for n, o in zip(shown, opacities, strict=False)])
    view.FitSliceToAll()
    view.SnapSliceOffsetToIJK()
    return pixels(view)


def test_the_layers_are_mixed_as_the_opacity_says_in_the_fusions_own_window_and_colours(
    view, layers, nodes
):
    pair = pairOfRequest(FusionRequest(*nodes, modalities=("MR", "PET")))
    grey_low, grey_high = pair.looks[0].window
    for opacity in (0.0, 0.3, 1.0):
        found = blended(view, layers, pair, opacity)
        i, j, k = voxelAt(view, nodes[0], 15, 9)
        assert k == 2
        grey = 255 * np.clip((40 * i - grey_low) / (grey_high - grey_low), 0, 1)
        share = np.array([40 * j / (40 * (SIZE - 1))], np.float32)
        colour = 255 * apply_colour_map(share, "rainforest")[0]
        expected = (1 - opacity) * grey + opacity * colour
        assert found[9, 15] == pytest.approx(expected, abs=4)


def test_windows_are_those_of_the_fusion(nodes):
    pair = pairOfRequest(FusionRequest(*nodes, modalities=("MR", "PET")))
    report = fuseNodes(*nodes, modalities=("MR", "PET"), method="average", device="cpu")[1]
    for look, role in zip(pair.looks, ("reference", "other"), strict=True):
        window = report[role]["window"]
        assert look.window == pytest.approx((window["low"], window["high"]))


def test_chosen_windows_and_colours_are_taken(nodes):
    request = FusionRequest(
        *nodes,
        modalities=("MR", "PET"),
        windows=((10.0, 500.0), "displayed"),
        options={"colour": "hot"},
    )
    nodes[1].GetDisplayNode().AutoWindowLevelOff()
    nodes[1].GetDisplayNode().SetWindowLevelMinMax(100, 300)
    pair = pairOfRequest(request)
    assert pair.looks[0].window == (10.0, 500.0)
    assert pair.looks[1].window == (100.0, 300.0)
    assert pair.looks[1].legend.colour_map == "hot"
    grey = FusionRequest(*nodes, modalities=("MR", "PET"), options={"colour": "grey"})
    assert pairOfRequest(grey).looks[1].legend is None


def test_a_large_mr_is_sampled_for_its_window_which_is_nearly_the_same(scene):
    k, j, i = np.indices((40, 120, 130))
    head = ((k - 20) / 18) ** 2 + ((j - 60) / 50) ** 2 + ((i - 65) / 55) ** 2 < 1
    tissue = 600 + 250 * np.sin(i / 9) * np.cos(j / 11) + 100 * np.sin(k / 5)
    voxels = np.where(head, tissue, 20) + np.random.default_rng(2).normal(0, 10, head.shape)
    volume = Volume(voxels.astype(np.int16), (1, 1, 1), (0, 0, 0), modality="MR")
    assert head.size > 3 * SAMPLED_VOXELS
    mr, pet = (addVolumeNode(scene, volume, name) for name in ("T1", "FDG PET"))
    pair = pairOfRequest(FusionRequest(mr, pet, modalities=("MR", "PET")))
    exact = choose_window(volume)
    assert pair.looks[0].window == pytest.approx((exact.low, exact.high), rel=0.03)
    assert pair.looks[1].window == (0.0, float(volume.voxels.max())), (
        "extremes come from every voxel"
    )


def test_the_legend_tells_the_others_unit_and_goes_with_the_layers(scene, layers, nodes):
    count = scene.GetNumberOfNodes()
    pair = pairOfRequest(FusionRequest(*nodes, modalities=("MR", "SPECT")))
    reference, other = layers.nodesFor(pair)
    assert legendOf(other).GetTitleText() == "counts"
    assert legendOf(reference) is None
    for node in (reference, other):
        assert node.GetHideFromEditors() and not node.GetSaveWithScene()
        shown = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
        assert not any(display.GetSaveWithScene() for display in shown)
    layers.forget()
    # The map of colours stays in the scene's list of colours.
    assert scene.GetNumberOfNodes() == count + 1


def test_the_users_volumes_keep_their_window_their_colours_and_their_place(scene, layers, nodes):
    def seen():
        return [
            (
                node.GetDisplayNode().GetWindow(),
                node.GetDisplayNode().GetColorNodeID(),
                node.GetTransformNodeID(),
                node.GetNumberOfDisplayNodes(),
            )
            for node in nodes
        ]

    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    before = seen()
    request = FusionRequest(*nodes, modalities=("MR", "PET"), transformNode=transform)
    reference, other = layers.nodesFor(pairOfRequest(request))
    assert seen() == before
    assert other.GetParentTransformNode() is transform
    assert reference.GetParentTransformNode() is None
    assert other.GetImageData() is nodes[1].GetImageData(), "no voxel is copied"


def test_another_kind_of_volume_takes_the_layers_place(scene, layers, nodes):
    colour = Volume(np.full((5, SIZE, SIZE, 3), 90, np.uint8), (1, 1, 1), (0, 0, 0))
    layers.nodesFor(pairOfRequest(FusionRequest(*nodes, modalities=("MR", "PET"))))
    painted = addVolumeNode(scene, colour, "painted PET")
    count = scene.GetNumberOfNodes()
    pair = pairOfRequest(FusionRequest(nodes[0], painted, modalities=("MR", "PET")))
    _reference, other = layers.nodesFor(pair)
    assert other.IsA("vtkMRMLVectorVolumeNode")
    assert pair.looks[1].window is None, "its colours are its own"
    # The scale and the legend of the scalar volume are gone with it.
    assert scene.GetNumberOfNodes() == count - 2


@pytest.mark.skipif(not hasMoreLayers(), reason="this version of Slicer has two layers")
def test_the_fused_volume_is_a_third_layer_on_top(view, layers, nodes):
    fused, _ = fuseNodes(*nodes, modalities=("MR", "PET"), method="maximum", device="cpu")
    pair = pairOfFused(fused)
    assert pair.looks[1].legend.colour_map == "rainforest"
    two = blended(view, layers, pair, 0.5)
    three = blended(view, layers, pair, 0.5, fused)
    i, j, k = voxelAt(view, fused, 15, 9)
    assert k == 2
    painted = colourBetween(fused, i, j)
    assert three[9, 15] == pytest.approx((two[9, 15] + painted) / 2, abs=3)
    composite = view.GetSliceCompositeNode()
    assert shownLayers(composite)[-1] is fused
    setLayers(composite, layersOf(composite)[:2])
    assert len(layersOf(composite)) == 2
    assert pixels(view) == pytest.approx(two, abs=1)


def colourBetween(fused, i: float, j: float) -> np.ndarray:
    """The fused volume's colour between four voxels of its middle slice."""
    painted = slicer.util.arrayFromVolume(fused)[2].astype(float)
    below = painted[int(j), int(i)] * (1 - i % 1) + painted[int(j), int(i) + 1] * (i % 1)
    above = painted[int(j) + 1, int(i)] * (1 - i % 1) + painted[int(j) + 1, int(i) + 1] * (i % 1)
    return below * (1 - j % 1) + above * (j % 1)


def test_a_further_volume_is_blended_as_it_is_laid_and_shown_itself(scene, nodes):
    values = np.arange(SIZE**3, dtype=np.int16).reshape(SIZE, SIZE, SIZE)
    spect = slicer.util.addVolumeFromArray(values, name="SPECT")
    aside = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "aside")
    source = FurtherSource(spect, "SPECT", (10.0, 900.0), transformNode=aside)
    request = FusionRequest(*nodes, modalities=("MR", "PET"), further=(source,))
    pair = pairOfRequest(request, 1)
    assert (pair.referenceNode, pair.otherNode, pair.transformNode) == (nodes[0], spect, aside)
    assert pair.looks[1].window == (10.0, 900.0)
    maps = [pairOfRequest(request, number).looks[1].legend.colour_map for number in (0, 1)]
    assert maps == ["red", "blue"], "as the fusion tells them apart"

    fused, report = fuseNodes(
        *nodes,
        furtherNodes=[spect],
        modalities=("MR", "PET", "SPECT"),
        method="average",
        device="cpu",
    )
    assert [pairOfFused(fused, number).otherNode for number in (0, 1)] == [nodes[1], spect]
    look = pairOfFused(fused, 1).looks[1]
    window = report["further"][0]["window"]
    assert look.window == (window["low"], window["high"])
    assert (look.legend.colour_map, look.legend.unit) == ("blue", "counts")
    assert pairOfFused(fused).looks[1].legend.colour_map == "red"


def test_setting_layers_is_one_change_of_the_view(view, nodes):
    composite, changes = view.GetSliceCompositeNode(), []
    composite.AddObserver("ModifiedEvent", lambda *_: changes.append(1))
    setLayers(composite, [(nodes[0].GetID(), 1.0), (nodes[1].GetID(), 0.4)])
    assert len(changes) == 1
    assert layersOf(composite) == [(nodes[0].GetID(), 1.0), (nodes[1].GetID(), 0.4)]
