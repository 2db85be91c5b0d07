"""The map of what is hidden as a node of a real MRML scene, through the real worker process."""

from __future__ import annotations

import json

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from MedFusionLib.errors import InputError  # noqa: E402
from MedFusionLib.fusion import fuse  # noqa: E402
from MedFusionLib.hidden import HIDDEN_PERCENT  # noqa: E402
from MedFusionLib.slicer_app.scene.hidden_node import (  # noqa: E402
    HIDDEN_ROLE,
    INVENTED_ROLE,
    isHiddenMap,
    showHiddenMap,
    showInventedMap,
)
from MedFusionLib.slicer_app.scene.mrml import (  # noqa: E402
    fusedNodeFromVolume,
    fuseNodes,
    volumeFromNode,
)
from MedFusionLib.volumes.volume import Volume  # noqa: E402
from MedFusionLib.worker.protocol import save_volume  # noqa: E402
from MedFusionLib.worker.tasks import Tasks  # noqa: E402

SHAPE = (8, 40, 44)


def blobs(seed: int) -> np.ndarray:
    """Smooth structure of 8 bits that fills the volume."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 2)
    return np.rint(np.interp(noise, (noise.min(), noise.max()), (60, 200))).astype(np.uint8)


@pytest.fixture
def nodes(scene):
    return [
        slicer.util.addVolumeFromArray(blobs(seed), name=name)
        for seed, name in ((1, "T1"), (2, "CT"))
    ]


def test_the_map_lies_on_the_fused_volume_and_shows_only_what_hides_most(nodes, scene):
    fused, _ = fuseNodes(*nodes, method="average", device="cpu")
    volume = volumeFromNode(fused)
    hidden = Volume(blobs(3) // 2, volume.spacing, volume.origin, volume.directions)
    node = showHiddenMap(fused, hidden)
    assert isHiddenMap(node) and fused.GetNodeReference(HIDDEN_ROLE) is node
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), hidden.voxels)
    np.testing.assert_array_equal(matrix(node), matrix(fused))
    display = node.GetDisplayNode()
    assert display.GetApplyThreshold()
    assert display.GetLowerThreshold() == HIDDEN_PERCENT + 1
    count = scene.GetNumberOfNodes()
    assert showHiddenMap(fused, hidden) is node and scene.GetNumberOfNodes() == count


def matrix(node):
    import vtk

    found = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(found)
    return slicer.util.arrayFromVTKMatrix(found)


def test_a_new_fusion_into_the_same_volume_takes_the_old_map_away(nodes, scene):
    fused, _ = fuseNodes(*nodes, method="average", device="cpu")
    node = showHiddenMap(fused, volumeFromNode(fused))
    fuseNodes(*nodes, fused, method="maximum", device="cpu")
    assert not scene.IsNodePresent(node)
    assert fused.GetNodeReference(HIDDEN_ROLE) is None


def test_the_worker_maps_the_last_fusion_and_refuses_an_older_one(tmp_path):
    tasks = Tasks(tmp_path)
    reference = Volume(blobs(1), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), modality="MR")
    other = Volume(blobs(2), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), modality="CT")
    fuse = {
        "do": "fuse",
        "id": 7,
        "reference": save_volume(reference, tmp_path, "reference.npy"),
        "other": save_volume(other, tmp_path, "other.npy"),
        "options": {"method": "maximum", "device": "cpu"},
    }
    tasks.run(fuse, lambda *told: None, lambda: False)
    ask = {"do": "map_hidden", "id": 8, "fusion": 7}
    answer = tasks.run(ask, lambda *told: None, lambda: False)
    voxels = np.load(tmp_path / answer["volume"]["file"])
    assert voxels.shape == SHAPE and voxels.dtype == np.uint8
    # Where the maximum shows the one source, the other one's structure is gone.
    assert voxels.max() == 100
    assert "hides more than" in answer["hidden"]["sentence"]
    with pytest.raises(InputError, match="no longer has"):
        tasks.run({**ask, "fusion": 3}, lambda *told: None, lambda: False)


@pytest.fixture
def thickNodes(scene):
    """A pair whose slices are 2.5 times as far apart as their pixels, turned and off the origin."""
    turned = np.array(
        [[0.0, -1.0, 0.0, 7.0], [0.8, 0.0, -1.5, -3.0], [0.6, 0.0, 2.0, 11.0], [0, 0, 0, 1]]
    )
    return [
        slicer.util.addVolumeFromArray(blobs(seed), turned, name)
        for seed, name in ((1, "T1"), (2, "CT"))
    ]


def test_on_a_finer_grid_the_node_lies_over_the_measured_one_and_says_so(thickNodes, scene):
    fused, report = fuseNodes(*thickNodes, method="average", device="cpu", grid="isotropic")
    assert fused.GetImageData().GetDimensions() == (44, 40, 18)
    assert fused.GetSpacing() == pytest.approx((1.0, 1.0, 1.0))
    # The measured slice 2 is the fine slice 5, wherever in the world it lies.
    measured, fine = matrix(thickNodes[0]), matrix(fused)
    np.testing.assert_allclose(fine @ [3, 4, 5, 1], measured @ [3, 4, 2, 1], atol=1e-9)
    parameters = json.loads(fused.GetAttribute("MedFusion.Parameters"))
    assert parameters["grid"]["name"] == "isotropic" and parameters["planes"] == "one"
    assert report["grid"]["between_share"] > 0.5


def test_a_grid_changed_since_the_run_began_is_still_refused(thickNodes, scene):
    volumes = [volumeFromNode(node) for node in thickNodes]
    result = fuse(volumes, method="average", device="cpu", grid="isotropic")
    thickNodes[0].SetSpacing(1.0, 1.0, 2.0)
    with pytest.raises(InputError, match="does not lie on the grid"):
        fusedNodeFromVolume(result.volume, result.report, *thickNodes)


def test_the_map_of_what_is_invented_is_transparent_on_measured_slices(thickNodes, scene):
    volumes = [volumeFromNode(node) for node in thickNodes]
    result = fuse(volumes, method="average", device="cpu", grid="isotropic")
    fused = fusedNodeFromVolume(result.volume, result.report, *thickNodes)
    node = showInventedMap(fused, result.refined.invented.volume)
    assert isHiddenMap(node), "never offered as an input"
    assert fused.GetNodeReference(INVENTED_ROLE) is node
    np.testing.assert_array_equal(matrix(node), matrix(fused))
    shown = slicer.util.arrayFromVolume(node) >= node.GetDisplayNode().GetLowerThreshold()
    assert [bool(layer.all()) for layer in shown] == [index % 5 != 0 for index in range(18)]
    colours = node.GetDisplayNode().GetColorNode()
    table = [np.array(colours.GetLookupTable().GetTableValue(value)) for value in range(201)]
    assert (table[100] > table[40])[1] and table[100][0] == 0, "green grows"
    assert table[103][0] > 0.8 and table[200][1] == 0, "red where the network drew"
    assert table[102] == pytest.approx(table[100]), "up to 2 % nothing counts as drawn"
    again = showInventedMap(fused, result.refined.invented.volume)
    assert again is node and again.GetDisplayNode().GetColorNode() is colours
    fuseNodes(*thickNodes, fused, method="average", device="cpu")
    assert not scene.IsNodePresent(node)
    assert fused.GetImageData().GetDimensions() == (44, 40, 8)


def test_the_worker_maps_what_the_last_fusion_invented_and_refuses_where_nothing_was(tmp_path):
    tasks = Tasks(tmp_path)
    volumes = [
        Volume(blobs(seed), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), modality=modality)
        for seed, modality in ((1, "MR"), (2, "CT"))
    ]
    request = {
        "do": "fuse",
        "id": 7,
        "reference": save_volume(volumes[0], tmp_path, "reference.npy"),
        "other": save_volume(volumes[1], tmp_path, "other.npy"),
        "options": {"method": "average", "device": "cpu", "grid": "isotropic"},
    }
    tasks.run(request, lambda *told: None, lambda: False)
    ask = {"do": "map_invented", "id": 8, "fusion": 7}
    answer = tasks.run(ask, lambda *told: None, lambda: False)
    voxels = np.load(tmp_path / answer["volume"]["file"])
    assert voxels.shape == (15, 40, 44)
    assert voxels[:, 0, 0].tolist() == [0, 100] * 7 + [0]
    measured = {**request, "id": 9, "options": {"method": "average", "device": "cpu"}}
    tasks.run(measured, lambda *told: None, lambda: False)
    with pytest.raises(InputError, match="Nothing was invented"):
        tasks.run({**ask, "fusion": 9}, lambda *told: None, lambda: False)
