"""What the panel and the slice views say of a tracked pointer: from plain values to sentences."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from MedFusionLib.slicer_app.panel.statements import Statement, Weight
from MedFusionLib.slicer_app.panel.texts import distanceText
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.slicer_app.views.targets import TargetDistance, TrajectoryPosition
from MedFusionLib.slicer_app.views.tracking import Tracking, TrackingState


@dataclass(frozen=True)
class Alarm:
    """What must not be overlooked: a large line in the panel, and one across the slice views."""

    text: str
    weight: Weight = Weight.BAD

    @property
    def colour(self) -> tuple[float, float, float]:
        """Red, green and blue, 0 to 1; brighter than on the panel's light ground."""
        return (1.0, 0.15, 0.1) if self.weight is Weight.BAD else (1.0, 0.65, 0.0)


def alarmOf(tracking: TrackingState, distance: float | None) -> Alarm | None:
    """The worst that is to be said of a pointer, or None."""
    if tracking.tracking is Tracking.LOST:
        return Alarm(_("POINTER LOST"))
    if distance is not None and distance < 0:
        return Alarm(_("OUTSIDE THE VOLUME"))
    if tracking.tracking is Tracking.STALE:
        return Alarm(_("NO NEW POSITION"), Weight.WARNING)
    return None


def trackingStatement(tracking: TrackingState) -> Statement:
    """Whether the pointer is seen, with its color."""
    seconds = f"{tracking.silence:.0f}"
    return {
        Tracking.MOVING: Statement(Weight.GOOD, _("Tracked, moving.")),
        Tracking.STILL: Statement(Weight.GOOD, _("Tracked, still.")),
        Tracking.STALE: Statement(
            Weight.WARNING,
            _("No new position for {seconds} s: what is shown may be old.").format(seconds=seconds),
        ),
        Tracking.LOST: Statement(Weight.BAD, _lostText(tracking.reason)),
    }[tracking.tracking]


def _lostText(reason: str) -> str:
    where = _("The views stay at the last position that was seen.")
    known = {
        "matrix": _("The pointer is lost: its transform holds no position."),
        "identity": _("The pointer is lost: its transform is the unit matrix."),
    }
    told = _("The pointer is lost: the tracker says '{reason}'.").format(reason=reason)
    return f"{known.get(reason, told)} {where}"


def placeStatements(
    distance: float | None,
    target: TargetDistance | None,
    trajectory: TrajectoryPosition | None,
) -> list[Statement]:
    """Where the tip is: in the volume, from the target, and along the trajectory."""
    isOutside = distance is not None and distance < 0
    statements = [Statement(Weight.BAD if isOutside else Weight.NOTE, distanceText(distance))]
    if target is not None:
        statements.append(Statement(Weight.NOTE, targetText(target)))
    if trajectory is not None:
        statements.append(Statement(Weight.NOTE, trajectoryText(trajectory)))
    return statements


def targetText(target: TargetDistance) -> str:
    """How far the tip is from the target."""
    return _("Target {label}: {distance} mm away.").format(
        label=target.label, distance=f"{target.distance:.1f}"
    )


def trajectoryText(position: TrajectoryPosition) -> str:
    """Where the tip is along the trajectory, how far beside it, and at which angle to it."""
    beyond = position.remaining < 0
    ahead = (
        _("{millimetres} mm beyond the target's depth")
        if beyond
        else _("{millimetres} mm to the target's depth")
    )
    return _("Trajectory: {lateral} mm beside it, {depth} mm deep, {ahead}, {angle}° off.").format(
        lateral=f"{position.lateral:.1f}",
        depth=f"{position.depth:.1f}",
        ahead=ahead.format(millimetres=f"{abs(position.remaining):.1f}"),
        angle=f"{position.angle:.0f}",
    )


def deletedText(name: str) -> str:
    """What is said after a node that the navigation used has left the scene."""
    return {
        "targetPoint": _("The target was deleted: choose another one."),
        "trajectoryLine": _("The trajectory was deleted: choose another one."),
    }[name]


def unplacedText(name: str) -> str:
    """What is said of a target or a trajectory whose points are not placed yet."""
    return {
        "targetPoint": _("The target has no point yet: place one."),
        "trajectoryLine": _("The trajectory needs two points: entry and target."),
    }[name]


def alarmHtml(alarm: Alarm | None) -> str:
    """The alarm in large letters, for a label; empty without one."""
    if alarm is None:
        return ""
    sign, colour = alarm.weight.value
    return (
        f'<p style="margin:4px 0; color:{colour}; font-size:18pt; font-weight:bold">'
        f"{sign} {escape(alarm.text)}</p>"
    )
