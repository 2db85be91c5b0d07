"""The place of a volume node's voxels in SimpleITK's terms, and back.

A volume node keeps spacing, origin and axis directions apart, in RAS; a ``Volume`` keeps the same
three in LPS. Only signs differ, so both ways are exact to the last bit. The node's IJKToRAS matrix
is their product and is never taken apart again, which would round.
"""

from __future__ import annotations

import numpy as np

RAS_LPS_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns RAS into LPS and LPS into RAS: x and y change sign."""

Triple = tuple[float, float, float]


def nodeGeometry(volumeNode) -> tuple[Triple, Triple, tuple[float, ...]]:
    """Spacing (mm), origin (LPS, mm) and directions (9, row-major, LPS) of a volume node.

    Parent transforms are not in it.
    """
    directions = np.zeros((3, 3)).tolist()
    volumeNode.GetIJKToRASDirections(directions)
    origin = RAS_LPS_FLIP[:3, :3] @ volumeNode.GetOrigin()
    # Adding zero turns the -0.0 of a changed sign into 0.0.
    directionsLps = RAS_LPS_FLIP[:3, :3] @ directions + 0.0
    return (
        volumeNode.GetSpacing(),
        tuple((origin + 0.0).tolist()),
        tuple(directionsLps.ravel().tolist()),
    )


def setNodeGeometry(volumeNode, spacing: Triple, origin: Triple, directions) -> None:
    """Place a volume node's voxels as ``nodeGeometry`` describes it."""
    directionsRas = RAS_LPS_FLIP[:3, :3] @ np.reshape(directions, (3, 3)) + 0.0
    volumeNode.SetSpacing(*spacing)
    volumeNode.SetOrigin(*(RAS_LPS_FLIP[:3, :3] @ origin + 0.0).tolist())
    volumeNode.SetIJKToRASDirections(directionsRas.tolist())


def copyNodeGeometry(fromNode, toNode) -> None:
    """Give one volume node the place of another, bit for bit."""
    directions = np.zeros((3, 3)).tolist()
    fromNode.GetIJKToRASDirections(directions)
    toNode.SetSpacing(fromNode.GetSpacing())
    toNode.SetOrigin(fromNode.GetOrigin())
    toNode.SetIJKToRASDirections(directions)
