"""What a derived DICOM series has to know of the scene's volumes that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slicer

from MedFusionLib.slicer_app.scene.mrml import volumeSeenInNode
from MedFusionLib.slicer_app.scene.provenance import dicomMetadata, pairOf, sourcesOf
from MedFusionLib.slicer_app.scene.scene_facts import outline
from MedFusionLib.volumes.volume import Volume


def exportRequest(
    fusedNode, report: Mapping[str, Any], folder: Path
) -> tuple[dict[str, Volume], dict[str, Any]]:
    """Volumes and values of the worker's request ``export_dicom``."""
    reference, other, *further = map(sourceMetadata, sourcesOf(fusedNode))
    values = {
        "reference_metadata": reference,
        "other_metadata": other,
        "further_metadata": further,
        "report": dict(report),
        "folder": str(folder),
    }
    return {"volume": volumeSeenInNode(fusedNode)}, values


def navigationRequest(
    fusedNode, report: Mapping[str, Any], folder: Path
) -> tuple[dict[str, Volume], dict[str, Any]]:
    """Volumes and values of the worker's request ``export_navigation``."""
    volumes, values = exportRequest(fusedNode, report, folder)
    return volumes, {
        **values,
        "other_place": _placeOf(pairOf(fusedNode)[1]),
        "square_pixels": True,
    }


def _placeOf(volumeNode) -> dict[str, Any] | None:
    """The grid of a volume node as it is now."""
    if volumeNode is None:
        return None
    grid = outline(volumeNode)
    return {"affine": grid.affine_lps.tolist(), "shape": list(grid.grid_shape)}


def sourceMetadata(volumeNode) -> dict[str, str]:
    """DICOM identity and files of a volume node, as far as Slicer knows them."""
    if volumeNode is None:
        return {}
    files = [slicer.dicomDatabase.fileForInstance(uid) for uid in _instances(volumeNode)]
    found = [file for file in files if file]
    return {**dicomMetadata(volumeNode), "source_files": "\n".join(found)}


def _instances(volumeNode) -> list[str]:
    if not getattr(slicer, "dicomDatabase", None):
        return []
    return (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split()
