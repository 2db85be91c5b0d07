"""A synthetic volume in a real scene: its mark comes with the file, and it is not fused."""

from __future__ import annotations

import numpy as np
import pytest
import slicer

from MedFusionLib.errors import IdentityError
from MedFusionLib.slicer_app.scene.mrml import fuseNodes, volumeFromNode
from MedFusionLib.slicer_app.scene.provenance import SYNTHETIC_ATTRIBUTE
from MedFusionLib.slicer_app.scene.series_of_scene import loadedSeries
from MedFusionLib.volumes.files import read_volume, write_volume
from MedFusionLib.volumes.pairing import may_be_reference
from MedFusionLib.volumes.synthetic import marked, synthetic_note
from MedFusionLib.volumes.volume import Volume

NOTE = "T2 from T1 and PD by MedFusion hinet"


def head(seed: int, modality: str) -> Volume:
    voxels = np.random.default_rng(seed).integers(0, 1000, (10, 20, 24)).astype(np.int16)
    return Volume(voxels, (1.0, 1.0, 1.5), (0.0, 0.0, 0.0), modality=modality)


def storageOf(scene, path):
    storage = scene.AddNewNodeByClass("vtkMRMLNRRDStorageNode")
    storage.SetFileName(str(path))
    return storage


@pytest.fixture
def node(scene, tmp_path):
    """Loaded by Slicer's own reader, from a file and under a name that say nothing."""
    write_volume(marked(head(0, "MR"), NOTE), tmp_path / "mr.nrrd")
    loaded = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "MR T2 3D")
    assert storageOf(scene, tmp_path / "mr.nrrd").ReadData(loaded)
    return loaded


def test_slicer_makes_the_files_mark_an_attribute_and_writes_it_again(node, scene, tmp_path):
    assert node.GetAttribute(SYNTHETIC_ATTRIBUTE) == NOTE
    assert synthetic_note(volumeFromNode(node)) == NOTE
    assert storageOf(scene, tmp_path / "again.nrrd").WriteData(node)
    assert synthetic_note(read_volume(tmp_path / "again.nrrd")) == NOTE


def test_it_is_no_default_reference_and_is_not_fused(node):
    (found,) = loadedSeries(node.GetScene())
    assert not may_be_reference(found)
    other = slicer.util.addVolumeFromArray(head(1, "PET").voxels, np.eye(4), "PET")
    before = node.GetScene().GetNumberOfNodes()
    with pytest.raises(IdentityError, match="The reference volume is synthetic"):
        fuseNodes(node, other, method="average")
    assert node.GetScene().GetNumberOfNodes() == before
