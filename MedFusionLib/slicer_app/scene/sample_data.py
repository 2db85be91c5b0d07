"""The bundled sample pair for Slicer's Sample Data module, and which volumes to choose first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

from MedFusionLib.slicer_app.scene.scene_facts import hasImage, isColour, volumeFacts

FILES = {"MedFusion MR T1": "Sample_MR_T1.nrrd", "MedFusion FDG PET": "Sample_FDG_PET.nrrd"}
"""Node names and the files they come from."""


def sampleFolder(moduleFolder: Path) -> Path:
    """Where the sample pair lies: in the installed module, or at the top of a source tree."""
    installed = moduleFolder / "Resources" / "SampleData"
    return installed if installed.is_dir() else moduleFolder.parent / "Resources" / "SampleData"


def samplePair(moduleFolder: Path) -> dict[str, Any]:
    """The arguments with which the Sample Data module registers the pair; nothing is downloaded."""
    folder = sampleFolder(moduleFolder)
    return {
        "uris": [(folder / name).as_uri() for name in FILES.values()],
        "fileNames": list(FILES.values()),
        "nodeNames": list(FILES),
    }


def loadSamplePair(moduleFolder: Path) -> list:
    """Load the pair into Slicer: the reference and the other volume's node."""
    folder = sampleFolder(moduleFolder)
    return [
        slicer.util.loadVolume(str(folder / file), {"name": name, "show": False})
        for name, file in FILES.items()
    ]


def firstPair(scene) -> tuple[Any, Any]:
    """A reference and another volume of the scene, told apart by their modality.

    The first MR is the reference, the first volume of another modality the other one; where that
    does not tell, nothing is chosen for it.
    """
    reference = other = None
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene):
        if not hasImage(node) or node.IsA("vtkMRMLLabelMapVolumeNode"):
            continue
        if node.GetAttribute("MedFusion.Method"):
            continue
        modality = volumeFacts(node, None).modality
        if reference is None and modality == "MR" and not isColour(node):
            reference = node
        elif other is None and modality in ("CT", "PET", "SPECT"):
            other = node
    return reference, other
