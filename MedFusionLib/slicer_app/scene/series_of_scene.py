"""The loaded volumes as series, with what DICOM and the subject hierarchy tell of them."""

from __future__ import annotations

from typing import Any

import slicer

from MedFusionLib.slicer_app.scene.hidden_node import isHiddenMap
from MedFusionLib.slicer_app.scene.provenance import dicomMetadata, isFused, syntheticMetadata
from MedFusionLib.slicer_app.scene.scene_facts import volumeFacts
from MedFusionLib.slicer_app.scene.series_of_database import IDENTITY, headerOf, openDatabase
from MedFusionLib.volumes.series_facts import SeriesFacts


def loadedSeries(scene) -> list[SeriesFacts]:
    """Each volume of the scene but maps of what is hidden; its key is the node's ID."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene)
    return [_seriesOf(node) for node in nodes if not isHiddenMap(node) and not _isLabelMap(node)]


def _isLabelMap(node) -> bool:
    return node.IsA("vtkMRMLLabelMapVolumeNode")


def _seriesOf(node) -> SeriesFacts:
    facts = volumeFacts(node, None)
    known = dicomMetadata(node)
    header = _headerOf(node)
    fields = {
        "key": node.GetID(),
        "name": facts.name,
        "description": _seriesDescription(node),
        "modality": facts.modality,
        "identity": {name: known[name] for name in IDENTITY if name in known},
        "study_uid": known.get("study_uid", ""),
        "study_date": known.get("study_date", ""),
        "subject": _subjectOf(node),
        "frame_of_reference_uid": ""
        if _isPlaced(node)
        else known.get("frame_of_reference_uid", ""),
        "is_fused": isFused(node) or bool(syntheticMetadata(node)) or header.get("is_fused", False),
        "is_colour": facts.isColour,
        "refusal": facts.refusal,
        **_gridOf(node, facts.refusal is None),
    }
    return SeriesFacts(**(header | fields))


def _gridOf(node, hasImage: bool) -> dict[str, Any]:
    if not hasImage:
        return {"shape": (0, 0, 0), "spacing": (0.0, 0.0, 0.0)}
    shape = tuple(reversed(node.GetImageData().GetDimensions()))
    return {"shape": shape, "spacing": tuple(node.GetSpacing())}


def _headerOf(node) -> dict[str, Any]:
    """What the database of DICOM tells beyond the subject hierarchy, if the node came from it."""
    database = openDatabase()
    instances = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    return {} if database is None else headerOf(database, instances)


def _isPlaced(node) -> bool:
    """Whether somebody has laid it on other volumes, so that its frame of reference tells nothing.

    A non-linear transform may only straighten a tilted or uneven series, as Slicer does on loading.
    """
    parent = node.GetParentTransformNode()
    return parent is not None and bool(parent.IsTransformToWorldLinear())


def _seriesDescription(node) -> str:
    hierarchy, item = _itemOf(node)
    prefix = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMAttributePrefix()
    return hierarchy.GetItemAttribute(item, prefix + "SeriesDescription") if item else ""


def _subjectOf(node) -> str:
    """The subject under which a user, or the DICOM module, has put a volume."""
    hierarchy, item = _itemOf(node)
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelPatient()
    subject = hierarchy.GetItemAncestorAtLevel(item, level) if item else 0
    return str(subject or "")


def _itemOf(node):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    return hierarchy, hierarchy.GetItemByDataNode(node)
