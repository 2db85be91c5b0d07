"""Which volumes of a scene the panel chooses first, and where the sample pair lies."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from MedFusionLib.slicer_app.scene.sample_data import firstPair, samplePair  # noqa: E402


def addVolume(name: str, nodeClass: str | None = None, shape=(3, 4, 5)):
    return slicer.util.addVolumeFromArray(
        np.ones(shape, np.int16), name=name, nodeClassName=nodeClass
    )


def test_the_first_pair_is_told_apart_by_modality_whatever_the_order(scene):
    pet, mr = addVolume("FDG PET"), addVolume("T1")
    addVolume("CT"), addVolume("T2")
    assert firstPair(scene) == (mr, pet)


def test_nothing_is_chosen_by_chance(scene):
    addVolume("something"), addVolume("else")
    assert firstPair(scene) == (None, None)


def test_labels_and_fused_volumes_are_no_inputs(scene):
    addVolume("CT labels", "vtkMRMLLabelMapVolumeNode")
    addVolume("T1 + CT fused").SetAttribute("MedFusion.Method", "average")
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1 without image")
    assert firstPair(scene) == (None, None)


def test_the_sample_data_module_gets_files_that_exist():
    pair = samplePair()
    files = [url2pathname(urlparse(uri).path) for uri in pair["uris"]]
    assert len(files) == len(pair["fileNames"]) == len(pair["nodeNames"]) == 2
    for file, name in zip(files, pair["fileNames"], strict=True):
        assert file.endswith(name)
        assert Path(file).is_file()
