"""Where a pointer is as seen from a planned target and a planned trajectory, in the world (mm)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import vtk

from MedFusionLib.slicer_app.scene.landmark_nodes import placedPoints

SHORTEST_TRAJECTORY = 1e-3
"""In mm; two points nearer to each other tell no direction."""


@dataclass(frozen=True)
class TargetDistance:
    """The nearest point of a point list, and how far the tip is from it."""

    label: str
    distance: float


@dataclass(frozen=True)
class TrajectoryPosition:
    """A tip as seen from a trajectory, whose first point is the entry and whose last the target.

    ``lateral`` is the distance from the straight line through both, ``depth`` how far along it the
    tip is from the entry (negative before it), ``remaining`` how far it still is to the target's
    depth (negative beyond it); all in mm. ``angle`` is that between pointer and line, in degrees.
    """

    lateral: float
    depth: float
    remaining: float
    angle: float


def distanceToTarget(pointsNode, tip: np.ndarray) -> TargetDistance | None:
    """Distance from the tip (RAS, mm) to the nearest placed point of a markups node.

    None where no point is placed yet.
    """
    found = [
        TargetDistance(label, float(np.linalg.norm(point - tip)))
        for label, point in placedPoints(pointsNode)
    ]
    return min(found, key=lambda target: target.distance, default=None)


def positionOnTrajectory(lineNode, tip: np.ndarray, direction: np.ndarray):
    """The ``TrajectoryPosition`` of a tip (RAS, mm) of a pointer with a direction (unit vector).

    None for a line that has not both its ends yet.
    """
    points = [point for _, point in placedPoints(lineNode)]
    if len(points) < 2:
        return None
    entry, target = points[0], points[-1]
    length = float(np.linalg.norm(target - entry))
    if length < SHORTEST_TRAJECTORY:
        return None
    along = (target - entry) / length
    depth = float((tip - entry) @ along)
    return TrajectoryPosition(
        lateral=float(np.linalg.norm(tip - entry - depth * along)),
        depth=depth,
        remaining=length - depth,
        angle=float(np.degrees(np.arccos(np.clip(direction @ along, -1.0, 1.0)))),
    )


def pointerDirection(pointerNode) -> np.ndarray:
    """Unit vector (RAS) in which a pointer points: the z-axis of its transform.

    SlicerIGT's Pivot Calibration lays the shaft along the negative z-axis, so the positive one
    leaves the tip.
    """
    toWorld = vtk.vtkGeneralTransform()
    pointerNode.GetTransformToWorld(toWorld)
    tip = np.array(toWorld.TransformPoint(0.0, 0.0, 0.0))
    ahead = np.array(toWorld.TransformPoint(0.0, 0.0, 1.0)) - tip
    return ahead / np.linalg.norm(ahead)
