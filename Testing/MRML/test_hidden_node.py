"""The map of what is hidden as a node of a real MRML scene, through the real worker process."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from MedFusionLib.errors import InputError  # noqa: E402
from MedFusionLib.hidden import HIDDEN_PERCENT  # noqa: E402
from MedFusionLib.slicer_app.scene.hidden_node import (  # noqa: E402
    HIDDEN_ROLE,
    isHiddenMap,
    showHiddenMap,
)
from MedFusionLib.slicer_app.scene.mrml import fuseNodes, volumeFromNode  # noqa: E402
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
