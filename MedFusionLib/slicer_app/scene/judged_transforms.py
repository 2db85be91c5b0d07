"""The verdict on a registration, kept with the transform that it found.

Whoever uses the transform again is told the verdict again, as long as it still lays the same two
volumes on each other as it did when it was judged.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
import vtk

from MedFusionLib.slicer_app.scene.geometry import nodeGeometry
from MedFusionLib.slicer_app.scene.provenance import sourcesOf

VERDICT_ATTRIBUTE = "MedFusion.Verdict"
SAME = 1e-4
"""Largest difference of what was judged, in mm and in the entries of a matrix."""


LATTICE = 9
"""Points along each axis of the reference at which a transform that bends space is compared."""


def recordVerdict(transformNode, report: Mapping[str, Any], referenceNode, otherNode) -> None:
    """Keep the verdict of a registration's report with the node of the transform it found."""
    registration = report.get("registration")
    if registration is None:
        return
    kept = {
        "quality": {key: registration["quality"][key] for key in ("verdict", "reason")},
        "places": _places(transformNode, report, referenceNode, otherNode),
    }
    transformNode.SetAttribute(VERDICT_ATTRIBUTE, json.dumps(kept))


def verdictFor(
    transformNode, report: Mapping[str, Any], referenceNode, otherNode
) -> dict[str, str] | None:
    """``verdict`` and ``reason`` of the transform that a run was given; None for one that was never
    judged, for other volumes, or that has been changed since."""
    known = transformNode.GetAttribute(VERDICT_ATTRIBUTE)
    if known is None or sourcesOf(transformNode) != (referenceNode, otherNode):
        return None
    kept = json.loads(known)
    now = _places(transformNode, report, referenceNode, otherNode)
    if len(now) != len(kept["places"]) or not np.allclose(now, kept["places"], rtol=0, atol=SAME):
        return None
    return kept["quality"]


def _places(transformNode, report: Mapping[str, Any], referenceNode, otherNode) -> list[float]:
    """The mapping between the two volumes' own spaces, and where their voxels lie in these."""
    matrix = (report.get("transform") or {}).get("matrix")
    if matrix is None:
        matrix = _lattice(transformNode, referenceNode)
    grids = [value for node in (referenceNode, otherNode) for value in nodeGeometry(node)]
    numbers = [np.ravel(value) for value in (matrix, *grids)]
    return np.concatenate(numbers).tolist()


def _lattice(transformNode, referenceNode) -> list[list[float]]:
    """Where the transform lays points that are spread over the reference; it bends space."""
    toOther = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        referenceNode.GetParentTransformNode(), transformNode, toOther
    )
    ijkToRas = vtk.vtkMatrix4x4()
    referenceNode.GetIJKToRASMatrix(ijkToRas)
    axes = [
        np.linspace(0, count - 1, LATTICE).tolist()
        for count in referenceNode.GetImageData().GetDimensions()
    ]
    points = (ijkToRas.MultiplyPoint([*ijk, 1.0])[:3] for ijk in itertools.product(*axes))
    return [list(toOther.TransformPoint(point)) for point in points]
