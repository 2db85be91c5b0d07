"""Whether a pointer is seen, from what OpenIGTLink's interface does to its transform node."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

from MedFusionLib.slicer_app.views.navigation import PointerFollower  # noqa: E402
from MedFusionLib.slicer_app.views.tracking import Tracking, TrackingWatch  # noqa: E402


class Clock:
    """Seconds that only go on when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watch(clock):
    watch = TrackingWatch(clock)
    yield watch
    watch.stop()


def at(x: float, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def add(scene, matrix, parent=None, name="Pointer"):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(parent.GetID() if parent else None)
    return node


def receive(node, matrix, status: str | None = None) -> None:
    """What vtkMRMLIGTLConnectorNode does with a TRANSFORM message."""
    wasModifying = node.StartModify()
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.Modified()
    if status is not None:
        node.SetAttribute("TransformStatus", status)
        node.SetAttribute("OpenIGTLink.TransformStatus", status)
    node.EndModify(wasModifying)


def test_a_pointer_that_is_moved_is_moving_and_then_still_as_long_as_poses_come(
    scene, watch, clock
):
    pointer = add(scene, at(10))
    watch.start(pointer)
    receive(pointer, at(12))
    assert watch.state().tracking is Tracking.MOVING
    for _ in range(8):
        clock.now += 0.1
        receive(pointer, at(12))
    assert watch.state().tracking is Tracking.STILL


def test_noise_of_a_tracker_is_no_movement_but_a_slow_drift_is(scene, watch, clock):
    pointer = add(scene, at(10))
    watch.start(pointer)
    random = np.random.default_rng(1)
    for _ in range(20):
        clock.now += 0.05
        receive(pointer, at(*(np.array([10, 0, 0]) + random.normal(0, 0.05, 3))))
        assert watch.state().tracking is Tracking.STILL
    states = []
    for step in range(20):
        clock.now += 0.05
        receive(pointer, at(10 + 0.1 * step))
        states.append(watch.state().tracking)
    assert Tracking.MOVING in states


def test_without_a_new_pose_for_a_second_the_pointer_is_stale_and_says_for_how_long(
    scene, watch, clock
):
    pointer = add(scene, at(10))
    watch.start(pointer)
    clock.now += 0.9
    assert watch.state().tracking is Tracking.STILL
    clock.now += 3.1
    assert watch.state().tracking is Tracking.STALE
    assert watch.state().silence == pytest.approx(4.0)
    receive(pointer, at(10))
    assert watch.state().tracking is Tracking.STILL


@pytest.mark.parametrize("status", ["MISSING", "INVALID", "OUT_OF_VIEW", "TOOL_MISSING"])
def test_a_pointer_that_the_tracker_does_not_vouch_for_is_lost(scene, watch, status):
    pointer = add(scene, at(10))
    watch.start(pointer)
    receive(pointer, at(11), status)
    state = watch.state()
    assert state.tracking is Tracking.LOST
    assert state.reason == status.removeprefix("TOOL_")
    receive(pointer, at(11), "OK")
    assert watch.state().isTrusted


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [
        (np.full((4, 4), np.nan), "matrix"),
        (np.diag([1.0, 1.0, 0.0, 1.0]), "matrix"),
        (np.eye(4), "identity"),
    ],
)
def test_a_matrix_that_holds_no_place_is_lost(scene, watch, matrix, reason):
    pointer = add(scene, at(10))
    watch.start(pointer)
    receive(pointer, matrix)
    assert watch.state().tracking is Tracking.LOST
    assert watch.state().reason == reason


def test_a_tip_below_the_tracked_transform_is_lost_and_stale_with_it(scene, watch, clock):
    tracker = add(scene, at(50), name="StylusToTracker")
    tip = add(scene, at(0, 0, 120), tracker, "StylusTipToStylus")
    watch.start(tip)
    receive(tracker, at(51), "OK")
    assert watch.state().tracking is Tracking.MOVING
    receive(tracker, np.eye(4), "OK")
    assert watch.state().reason == "identity", "of a tool that is not seen"
    receive(tracker, at(51), "OK")
    clock.now += 2
    assert watch.state().tracking is Tracking.STALE


def test_the_news_of_one_tracked_transform_do_not_hide_the_silence_of_another(scene, watch, clock):
    head = add(scene, at(1), name="ReferenceToRas")
    stylus = add(scene, at(50), head, "StylusToReference")
    watch.start(stylus)
    for node in (head, stylus):
        receive(node, at(2), "OK")
    for _ in range(15):
        clock.now += 0.1
        receive(head, at(2), "OK")
    assert watch.state().tracking is Tracking.STALE


def test_a_transform_that_comes_above_later_is_watched_too(scene, watch, clock):
    pointer = add(scene, at(10))
    watch.start(pointer)
    patient = add(scene, at(5), name="Patient")
    pointer.SetAndObserveTransformNodeID(patient.GetID())
    receive(patient, at(6), "MISSING")
    assert watch.state().tracking is Tracking.LOST


def test_while_the_pointer_is_lost_the_views_keep_the_last_place_that_was_true(scene):
    pointer, told, lost = add(scene, at(10)), [], []
    sliceNode = scene.AddNewNodeByClass("vtkMRMLSliceNode")
    follower = PointerFollower(lambda tip, distance: told.append(tip), lambda: lost.append(1))
    follower.start(pointer, [sliceNode])
    receive(pointer, at(0, 0, 33), "OK")
    before = sliceNode.GetSliceOffset()
    receive(pointer, at(0, 0, -80), "MISSING")
    assert follower.tracking.tracking is Tracking.LOST
    assert sliceNode.GetSliceOffset() == before
    assert told[-1].tolist() == [0, 0, 33]
    assert lost, "told at once"
    receive(pointer, at(0, 0, 40), "OK")
    assert told[-1].tolist() == [0, 0, 40]
    follower.stop()
    assert follower.tracking is None
