"""The bundled sample pair for Slicer's Sample Data module, and which volumes to choose first."""

from __future__ import annotations

from typing import Any

import slicer

from MedFusionLib.sample_data import OTHER, REFERENCE
from MedFusionLib.slicer_app.scene.hidden_node import isHiddenMap
from MedFusionLib.slicer_app.scene.provenance import dicomMetadata, isFused
from MedFusionLib.slicer_app.scene.scene_facts import volumeFacts
from MedFusionLib.volumes.identity import differing_fields

FILES = {"MedFusion MR T1": REFERENCE, "MedFusion FDG PET": OTHER}
"""Node names and the files they come from."""


def samplePair() -> dict[str, Any]:
    """The arguments with which the Sample Data module registers the pair; nothing is downloaded."""
    return {
        "uris": [file.as_uri() for file in FILES.values()],
        "fileNames": [file.name for file in FILES.values()],
        "nodeNames": list(FILES),
    }


def loadSamplePair() -> list:
    """Load the pair into Slicer: the reference and the other volume's node."""
    return [
        slicer.util.loadVolume(str(file), {"name": name, "show": False})
        for name, file in FILES.items()
    ]


def firstPair(scene) -> tuple[Any, Any]:
    """A reference and another volume of the scene, told apart by their modality.

    The first MR is the reference, the first volume of another modality the other one; where that
    does not tell, nothing is chosen for it, and neither where DICOM tells of two patients.
    """
    reference = other = None
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene):
        if (
            isFused(node)
            or isHiddenMap(node)
            or (facts := volumeFacts(node, None)).refusal is not None
        ):
            continue
        if reference is None and facts.modality == "MR" and not facts.isColour:
            reference = node
        elif other is None and facts.modality in ("CT", "PET", "SPECT"):
            other = node
    if reference is not None and other is not None and _showTwoPatients(reference, other):
        return None, None
    return reference, other


def _showTwoPatients(*volumeNodes) -> bool:
    return bool(differing_fields(*(dicomMetadata(node) for node in volumeNodes)))
