"""Looks in the background whether the chosen heads lie on each other, before they are fused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from MedFusionLib.errors import MedFusionError
from MedFusionLib.slicer_app.running.fusion_job import FusionRequest

CALM_MILLISECONDS = 700
"""So long the choices have to stay before anything is looked at."""


class PositionCheck:
    """Keeps ``report`` up to date with what is watched; ``onChanged()`` when there is a new one.

    The look is the worker's (``registration.quick_check``). It is given up as soon as another
    choice is made, and never repeated for the same one. A non-linear transform is not looked at:
    to sample it may take minutes.
    """

    def __init__(self, client, onChanged: Callable[[], None]) -> None:
        self._client = client
        self._onChanged = onChanged
        self._key: object = None
        self._job: Any = None
        self._known: tuple[object, dict[str, Any] | None] = (None, None)

    @property
    def report(self) -> dict[str, Any] | None:
        """What was found for the present choice (``QuickCheck.to_report``), None before that."""
        return self._known[1] if self._key is not None and self._key == self._known[0] else None

    @property
    def isLooking(self) -> bool:
        """Whether the worker looks at the present choice."""
        return self._job is not None

    def watch(self, key: object, makeRequest: Callable[[], FusionRequest]) -> None:
        """The present choice: ``key`` tells it from others, None where there is nothing to see."""
        if key == self._key:
            return
        self.stop()
        self._key = key
        if key is not None and key != self._known[0]:
            qt.QTimer.singleShot(CALM_MILLISECONDS, lambda: self._look(key, makeRequest))

    def stop(self) -> None:
        """Give up the look in progress and watch nothing."""
        self._key = None
        if self._job is not None:
            self._job.abandon()
            self._job = None

    def _look(self, key: object, makeRequest: Callable[[], FusionRequest]) -> None:
        if key != self._key or self._job is not None:
            return
        request = makeRequest()
        transform = request.transform()
        if not transform.isFound:
            return
        try:
            volumes = request.volumes()
        except MedFusionError:
            return
        self._job = self._client.submit(
            "check_position",
            volumes,
            onDone=lambda result: self._onDone(key, result["check"]),
            # Volumes without a head are not looked at; Apply says what is wrong with others.
            onError=lambda error: self._onDone(key, None),
            transform=transform,
        )
        self._onChanged()

    def _onDone(self, key: object, report: dict[str, Any] | None) -> None:
        self._job = None
        self._known = (key, report)
        self._onChanged()
