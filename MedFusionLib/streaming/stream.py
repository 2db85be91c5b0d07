"""From a tracker to a receiver: the slice at the tip, again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from MedFusionLib.streaming.connections import SliceServer, Tracker
from MedFusionLib.streaming.tip_slices import TipSlicer, axial_pose

PLANES = ("axial", "pointer")
"""An axial slice through the tip, or the plane of the pointer's own first two axes."""
SECONDS_TO_STALE = 1.0


@dataclass
class StreamCount:
    """What has happened so far: poses that came, slices that were sent, poses not seen."""

    poses: int = 0
    sent: int = 0
    lost: int = 0
    stale: bool = False
    """Whether the tracker has been silent for more than a second."""
    is_seen: bool = True
    """Whether the tracker saw the tool when it spoke last."""


def stream(
    slicer: TipSlicer,
    tracker: Tracker,
    server: SliceServer,
    plane: str = "axial",
    go_on: Callable[[StreamCount], bool] = lambda count: True,
) -> StreamCount:
    """Cut and send a slice for each pose, until ``go_on(count)`` says no.

    It is asked after every pose, and once a second while none comes. For a pose that the tracker
    does not vouch for nothing is sent: no slice is better than one from elsewhere.
    """
    count = StreamCount()
    while go_on(count):
        pose = tracker.newest(SECONDS_TO_STALE)
        count.stale = pose is None
        if pose is None:
            continue
        count.poses += 1
        count.is_seen = pose.is_seen
        if not pose.is_seen:
            count.lost += 1
            continue
        matrix = pose.matrix if plane == "pointer" else axial_pose(pose.matrix[:3, 3])
        count.sent += server.send(slicer.cut(matrix))
    return count


class Rate:
    """Slices per second over the last report's time."""

    def __init__(self) -> None:
        self._since, self._before = time.monotonic(), 0

    @property
    def seconds(self) -> float:
        """How long ago it was asked last."""
        return time.monotonic() - self._since

    def of(self, sent: int) -> float:
        """Slices per second since the last call."""
        now = time.monotonic()
        rate = (sent - self._before) / max(1e-6, now - self._since)
        self._since, self._before = now, sent
        return rate
