"""Where a fused node came from, written into the scene, and what the scene knows of its volumes.

A fused image is neither Hounsfield units nor uptake: the reference's units and DICOM identity are
never copied to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import slicer

from MedFusionLib.volumes.synthetic import KEY, METADATA

REFERENCE_ROLE = "MedFusion.Reference"
OTHER_ROLE = "MedFusion.Other"
TRANSFORM_ROLE = "MedFusion.Transform"
FURTHER_ROLE = "MedFusion.Further{number}"
"""Of the first, second … volume behind the other one."""
FURTHER_TRANSFORM_ROLE = "MedFusion.FurtherTransform{number}"
FURTHER_COUNT_ATTRIBUTE = "MedFusion.FurtherVolumes"
"""How many there are; absent for a fusion of two volumes."""

TABLE_ROLE = "MedFusion.MetricsTable"
CHART_ROLE = "MedFusion.MetricsPlot"
MEASUREMENT_ROLES = (TABLE_ROLE, CHART_ROLE)
METHOD_ATTRIBUTE = "MedFusion.Method"
"""Marks a node that MedFusion has made."""
SYNTHETIC_ATTRIBUTE = KEY
"""Marks a node whose voxels a network made up, and says of what; Slicer reads it from an NRRD."""

_ATTRIBUTES = {
    METHOD_ATTRIBUTE: "method",
    "MedFusion.Version": "version",
    "MedFusion.WeightsSHA256": "weights_sha256",
    "MedFusion.Device": "device",
    SYNTHETIC_ATTRIBUTE: METADATA,
}
_NOT_PARAMETERS = {*_ATTRIBUTES.values(), "seconds", "metrics"}
_UNTRUE_AFTER_FUSION = ("DICOM.instanceUIDs", "DICOM.instanceNumbers")


def isFused(node) -> bool:
    """Whether MedFusion has made a node, as its provenance tells."""
    return node.GetAttribute(METHOD_ATTRIBUTE) is not None


def syntheticMetadata(node) -> dict[str, str]:
    """What a node's attribute tells of how it was made up, as ``Volume.metadata``."""
    note = node.GetAttribute(SYNTHETIC_ATTRIBUTE)
    return {METADATA: note} if note else {}


def sourcesOf(fusedNode) -> tuple[Any, ...]:
    """The nodes that a fused node was made from: reference, other and further ones; None for one
    that is no longer in the scene."""
    further = (fusedNode.GetNodeReference(role) for role in _roles(fusedNode, FURTHER_ROLE))
    return (*pairOf(fusedNode), *further)


def pairOf(fusedNode) -> tuple[Any, Any]:
    """The reference and the other volume of `sourcesOf`."""
    return fusedNode.GetNodeReference(REFERENCE_ROLE), fusedNode.GetNodeReference(OTHER_ROLE)


def furtherTransformsOf(fusedNode) -> tuple[Any, ...]:
    """The transform node that laid each further volume on the reference, None for none."""
    roles = _roles(fusedNode, FURTHER_TRANSFORM_ROLE)
    return tuple(fusedNode.GetNodeReference(role) for role in roles)


def _roles(fusedNode, role: str) -> list[str]:
    count = int(fusedNode.GetAttribute(FURTHER_COUNT_ATTRIBUTE) or 0)
    return [role.format(number=number) for number in range(1, count + 1)]


def recordProvenance(
    outputNode,
    report: Mapping[str, Any],
    referenceNode,
    otherNode,
    transformNode=None,
    further: Sequence[tuple[Any, Any]] = (),
) -> None:
    """Write how and from what ``outputNode`` was fused, in place of what it said before.

    Attributes: ``MedFusion.Method``, ``.Version``, ``.WeightsSHA256`` (absent for a method without
    weights), ``.Device``, ``.Synthetic`` (where a source was made up), ``.Parameters`` (the rest of
    the report as JSON), ``.Date`` (ISO 8601, UTC). Node references: ``MedFusion.Reference``,
    ``MedFusion.Other``, ``MedFusion.Transform`` (``transformNode``, else the other's parent
    transform). Each of ``further``, a volume node and the transform node that laid it (None: its
    parent), gets two references as well, ``MedFusion.Further1`` and ``MedFusion.FurtherTransform1``
    for the first.
    """
    for attribute, key in _ATTRIBUTES.items():
        value = report.get(key)
        outputNode.SetAttribute(attribute, None if value is None else str(value))
    parameters = {key: value for key, value in report.items() if key not in _NOT_PARAMETERS}
    outputNode.SetAttribute("MedFusion.Parameters", json.dumps(parameters, sort_keys=True))
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    outputNode.SetAttribute("MedFusion.Date", date)
    transformNode = transformNode or otherNode.GetParentTransformNode()
    recordSources(outputNode, (referenceNode, otherNode, *(node for node, _transform in further)))
    outputNode.SetNodeReferenceID(TRANSFORM_ROLE, transformNode.GetID() if transformNode else None)
    for number, (node, laidBy) in enumerate(further, 1):
        recordFurtherTransform(outputNode, number, laidBy or node.GetParentTransformNode())
    _dropUnitsAndDicomIdentity(outputNode)


def recordSources(outputNode, sources: Sequence) -> None:
    """Name the nodes that a node is fused from, in place of those of before (`sourcesOf`)."""
    for role in (FURTHER_ROLE, FURTHER_TRANSFORM_ROLE):
        for before in _roles(outputNode, role):
            outputNode.SetNodeReferenceID(before, None)
    count = len(sources) - 2
    outputNode.SetAttribute(FURTHER_COUNT_ATTRIBUTE, str(count) if count else None)
    roles = (REFERENCE_ROLE, OTHER_ROLE, *_roles(outputNode, FURTHER_ROLE))
    for role, node in zip(roles, sources, strict=True):
        outputNode.SetNodeReferenceID(role, node.GetID())


def recordFurtherTransform(outputNode, number: int, transformNode) -> None:
    """Name the transform node that laid a further volume, counted from 1, on the reference."""
    role = FURTHER_TRANSFORM_ROLE.format(number=number)
    outputNode.SetNodeReferenceID(role, transformNode.GetID() if transformNode else None)


def recordMeasures(outputNode, report: Mapping[str, Any]) -> None:
    """Write what was measured of a fused node after the run; the metrics' table has the rest."""
    parameters = {key: value for key, value in report.items() if key not in _NOT_PARAMETERS}
    outputNode.SetAttribute("MedFusion.Parameters", json.dumps(parameters, sort_keys=True))


def _dropUnitsAndDicomIdentity(outputNode) -> None:
    outputNode.SetVoxelValueQuantity(None)
    outputNode.SetVoxelValueUnits(None)
    for attribute in _UNTRUE_AFTER_FUSION:
        outputNode.SetAttribute(attribute, None)


def dicomMetadata(volumeNode) -> dict[str, str]:
    """What the subject hierarchy knows from DICOM, under the names of ``Volume.metadata``.

    Any of ``dicom_modality``, ``frame_of_reference_uid``, ``series_uid``, ``study_uid``,
    ``study_date`` and those of ``volumes.identity``; empty for a volume that did not come from
    Slicer's DICOM database.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volumeNode.GetScene())
    item = hierarchy.GetItemByDataNode(volumeNode)
    if not item:
        return {}
    names = slicer.vtkMRMLSubjectHierarchyConstants
    uidName = names.GetDICOMUIDName()
    study = hierarchy.GetItemAncestorAtLevel(item, names.GetDICOMLevelStudy())
    known = {
        "dicom_modality": hierarchy.GetItemAttribute(
            item, names.GetDICOMSeriesModalityAttributeName()
        ),
        "frame_of_reference_uid": hierarchy.GetItemAttribute(
            item, names.GetDICOMFrameOfReferenceUIDAttributeName()
        ),
        "series_uid": hierarchy.GetItemUID(item, uidName),
        "study_uid": hierarchy.GetItemUID(study, uidName) if study else "",
        "study_date": _attribute(hierarchy, study, names.GetDICOMStudyDateAttributeName()),
        **_identity(
            hierarchy, hierarchy.GetItemAncestorAtLevel(item, names.GetDICOMLevelPatient())
        ),
    }
    return {name: value for name, value in known.items() if value}


def _identity(hierarchy, patient: int) -> dict[str, str]:
    """Who the patient is, as the subject hierarchy knows from DICOM."""
    names = slicer.vtkMRMLSubjectHierarchyConstants
    return {
        "patient_id": _attribute(hierarchy, patient, names.GetDICOMPatientIDAttributeName()),
        "patient_name": _attribute(hierarchy, patient, names.GetDICOMPatientNameAttributeName()),
        "patient_birth_date": _attribute(
            hierarchy, patient, names.GetDICOMPatientBirthDateAttributeName()
        ),
        "patient_sex": _attribute(hierarchy, patient, names.GetDICOMPatientSexAttributeName()),
    }


def _attribute(hierarchy, item: int, name: str) -> str:
    return hierarchy.GetItemAttribute(item, name) if item else ""


def placeUnderStudyOf(referenceNode, outputNode) -> None:
    """Put the fused node into the reference's study, or beside the reference outside any study.

    A node that is already somewhere in that study stays where the user put it.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(outputNode.GetScene())
    parent = _studyOrParent(hierarchy, referenceNode)
    item = hierarchy.GetItemByDataNode(outputNode)
    if not item:
        hierarchy.CreateItem(parent, outputNode)
    elif parent not in _ancestors(hierarchy, item):
        hierarchy.SetItemParent(item, parent)


def _studyOrParent(hierarchy, node) -> int:
    item = hierarchy.GetItemByDataNode(node)
    if not item:
        return hierarchy.GetSceneItemID()
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelStudy()
    return hierarchy.GetItemAncestorAtLevel(item, level) or hierarchy.GetItemParent(item)


def _ancestors(hierarchy, item: int) -> list[int]:
    found = []
    while item and item != hierarchy.GetSceneItemID():
        item = hierarchy.GetItemParent(item)
        found.append(item)
    return found
