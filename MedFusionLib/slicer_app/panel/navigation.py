"""The panel's tracked pointer: what follows it, where it is, and how far it can be trusted."""

from __future__ import annotations

import logging
from collections.abc import Callable

import qt
import slicer

from MedFusionLib.slicer_app.panel.navigation_texts import (
    Alarm,
    alarmHtml,
    alarmOf,
    deletedText,
    placeStatements,
    trackingStatement,
    unplacedText,
)
from MedFusionLib.slicer_app.panel.statements import Statement, Weight, asHtml
from MedFusionLib.slicer_app.panel.texts import notFollowedText, pointerDeletedText
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.slicer_app.views import layouts as view_layouts
from MedFusionLib.slicer_app.views.navigation import (
    PointerFollower,
    ResliceDrive,
    distanceToBorder,
    resliceDriverLogic,
    tipInWorld,
)
from MedFusionLib.slicer_app.views.slice_stream import PORT, SliceStream, canStream
from MedFusionLib.slicer_app.views.targets import (
    distanceToTarget,
    pointerDirection,
    positionOnTrajectory,
)

MILLISECONDS_TO_LOOK = 250
"""How often a pointer that keeps silent is looked at."""
PLAN_FIELDS = ("targetPoint", "trajectoryLine")
WIDTHS = (60.0, 120.0, 200.0)
"""Millimetres that a zoomed view shows from left to right."""


class NavigationSection:
    """Lets the slice views follow a pointer and says where its tip is.

    ``shownNode()`` is the fused volume in view, or None; ``warn(text, colour)`` shows an alarm in
    the slice views, an empty text none.
    """

    def __init__(self, ui, shownNode: Callable, warn: Callable[..., None]) -> None:
        self.ui = ui
        self._shownNode = shownNode
        self._warn = warn
        self._parameters = None
        self._isLooking = False
        self._deleted: dict[str, str] = {}
        self._follower = PointerFollower(self._onPointerMoved, self._tell)
        self._drive = ResliceDrive()
        self._stream = SliceStream()
        ui.resliceDriverCheckBox.enabled = resliceDriverLogic() is not None
        ui.streamCheckBox.enabled = canStream()
        ui.zoomComboBox.addItems(zoomTexts())
        self._connect()
        self._tell()

    def _connect(self) -> None:
        ui = self.ui
        ui.followPointerCheckBox.connect("toggled(bool)", self.onFollowPointer)
        ui.resliceDriverCheckBox.connect("toggled(bool)", self.onFollowPointer)
        ui.streamCheckBox.connect("toggled(bool)", self.onStream)
        ui.zoomComboBox.connect("currentIndexChanged(int)", self.onZoom)

    def setParameters(self, parameters) -> None:
        """Use another parameter node, or none while the scene closes."""
        self._parameters = parameters

    @property
    def following(self) -> bool:
        """Whether the views follow a pointer."""
        return self._follower.pointerNode is not None

    def refresh(self) -> None:
        """Follow what is chosen."""
        pointer = self._parameters.pointerTransform
        self.ui.followPointerCheckBox.enabled = pointer is not None
        for name in PLAN_FIELDS:
            if getattr(self._parameters, name) is not None:
                self._deleted.pop(name, None)
        if self.following and self._follower.pointerNode is not pointer:
            self.onFollowPointer()
        if pointer is not None:
            self._deleted.pop("pointerTransform", None)
        if self._stream.active and self._stream.fusedNode is not self._shownNode():
            self.onStream(self.ui.streamCheckBox.checked)
        self._tell()

    def onFollowPointer(self, checked=None) -> None:
        """Begin or end to follow the chosen pointer, as the check boxes say."""
        self._release()
        parameters, ui = self._parameters, self.ui
        pointer = parameters.pointerTransform if parameters else None
        if pointer is not None and ui.followPointerCheckBox.checked:
            sliceNodes = view_layouts.navigationSliceNodes()
            if ui.resliceDriverCheckBox.checked:
                self._drive.start(sliceNodes, pointer)
            self._follower.centred = ui.zoomComboBox.currentIndex in range(1, 1 + len(WIDTHS))
            self._follower.start(pointer, sliceNodes, self._shownNode())
            self._lookLater()
        self._tell()

    def followShownViews(self) -> None:
        """Other views may be shown than when the pointer was first followed."""
        if self.following:
            self.onFollowPointer()

    def onZoom(self, index: int) -> None:
        """Show so much of the patient around the tip, or the whole volume."""
        widths = dict(enumerate(WIDTHS, start=1))
        if index in widths:
            view_layouts.zoomTo(widths[index])
        elif index > len(WIDTHS):
            view_layouts.zoomToVolume()
        self.followShownViews()

    def onDeleted(self, names: tuple[str, ...]) -> None:
        """Chosen nodes leave the scene: say so, whatever else is there."""
        for name in set(names) & set(PLAN_FIELDS):
            self._deleted[name] = deletedText(name)
        if "pointerTransform" in names:
            self._onPointerDeleted()
        self._tell()

    def _onPointerDeleted(self) -> None:
        wasFollowed = self.ui.followPointerCheckBox.checked
        self._release()
        self.ui.followPointerCheckBox.checked = False
        if wasFollowed:
            self._deleted["pointerTransform"] = pointerDeletedText()
            logging.warning("MedFusion: %s", pointerDeletedText())

    def onStream(self, checked: bool) -> None:
        """Send the slice at the tip to other systems, or stop."""
        self._stream.stop()
        fused = self._shownNode()
        if not checked:
            return
        if fused is None:
            self.ui.streamCheckBox.checked = False
            return
        with slicer.util.tryWithErrorDisplay(_("The slices cannot be sent.")):
            self._stream.start(fused)

    def _onPointerMoved(self, tip, distance) -> None:
        self._stream.send(tip)
        self._tell()

    def _lookLater(self) -> None:
        if not self._isLooking:
            self._isLooking = True
            qt.QTimer.singleShot(MILLISECONDS_TO_LOOK, self._look)

    def _look(self) -> None:
        """A pointer that is lost or silent tells nothing by itself."""
        self._isLooking = False
        if self.following:
            self._tell()
            self._lookLater()

    def _tell(self) -> None:
        statements, alarm = self._statements()
        if alarm is None:
            self._warn("")
        else:
            self._warn(alarm.text, alarm.colour)
        self.ui.alarmLabel.text = alarmHtml(alarm)
        self.ui.alarmLabel.visible = alarm is not None
        self.ui.distanceLabel.text = asHtml(statements)
        self.ui.distanceLabel.visible = self.following or bool(self._deleted)

    def _statements(self) -> tuple[list[Statement], Alarm | None]:
        deleted = [Statement(Weight.WARNING, text) for text in self._deleted.values()]
        tracking = self._follower.tracking
        if tracking is None:
            return deleted or [Statement(Weight.NOTE, notFollowedText())], None
        statements = [trackingStatement(tracking), *deleted]
        if not tracking.isTrusted:
            return statements, alarmOf(tracking, None)
        tip = tipInWorld(self._follower.pointerNode)
        distance = self._distance(tip)
        places = placeStatements(distance, *self._planned(tip))
        return [*statements, *places, *self._unplaced(tip)], alarmOf(tracking, distance)

    def _distance(self, tip) -> float | None:
        fused = self._shownNode()
        if fused is None or fused.GetImageData() is None:
            return None
        return distanceToBorder(fused, tip)

    def _planned(self, tip) -> tuple:
        target, line = (getattr(self._parameters, name) for name in PLAN_FIELDS)
        direction = pointerDirection(self._follower.pointerNode)
        return (
            distanceToTarget(target, tip) if target is not None else None,
            positionOnTrajectory(line, tip, direction) if line is not None else None,
        )

    def _unplaced(self, tip) -> list[Statement]:
        chosen = [getattr(self._parameters, name) for name in PLAN_FIELDS]
        return [
            Statement(Weight.WARNING, unplacedText(name))
            for name, node, found in zip(PLAN_FIELDS, chosen, self._planned(tip), strict=True)
            if node is not None and found is None
        ]

    def _release(self) -> None:
        self._follower.stop()
        self._drive.stop()

    def leave(self) -> None:
        """Follow no more, and send nothing."""
        for box in (self.ui.followPointerCheckBox, self.ui.streamCheckBox):
            box.checked = False
        self._release()
        self._stream.stop()
        self.ui.zoomComboBox.currentIndex = 0
        self._tell()

    def stop(self) -> None:
        """Let go of the scene."""
        self._deleted = {}
        self.leave()


def zoomTexts() -> list[str]:
    """What the list of zooms offers: kept as it is, widths around the tip, the whole volume."""
    widths = [_("{width} mm around the tip").format(width=f"{width:.0f}") for width in WIDTHS]
    return [_("Kept as it is"), *widths, _("Whole volume")]


def streamToolTip() -> str:
    """Where another system finds the slices."""
    return _(
        "Sends the axial slice through the tip as an OpenIGTLink image named MedFusion, on port "
        "{port}. Needs the extension SlicerOpenIGTLink."
    ).format(port=PORT)
