"""The slice at a tracked tip, through real sockets: pyigtl is the tracker and the receiver."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import numpy as np
import pytest

pyigtl = pytest.importorskip("pyigtl", reason="needs the extra stream")

from MedFusionLib.errors import GeometryError, InputError  # noqa: E402
from MedFusionLib.streaming.connections import SliceServer, Tracker  # noqa: E402
from MedFusionLib.streaming.messages import TrackedPose  # noqa: E402
from MedFusionLib.streaming.stream import stream  # noqa: E402
from MedFusionLib.streaming.tip_slices import TipSlicer, axial_pose  # noqa: E402
from MedFusionLib.volumes.volume import RAS_TO_LPS, Volume  # noqa: E402

SECONDS_TO_WAIT = 20.0
OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)


def volume(colour: bool = False) -> Volume:
    """Oblique in LPS; each voxel's value is a linear function of its place, which interpolation
    keeps."""
    i, j, k = np.meshgrid(*map(np.arange, (40, 36, 30)), indexing="ij")
    voxels = (3 * i + 5 * j + 7 * k).transpose(2, 1, 0)
    if colour:
        voxels = np.stack([voxels // 4, voxels // 2 % 200, 200 - voxels // 4], -1).astype(np.uint8)
    return Volume(
        voxels if colour else voxels.astype(np.int16), (1.0, 1.5, 2.0), (12.0, -30.0, 5.0), OBLIQUE
    )


def ras_of(source: Volume, index) -> np.ndarray:
    return (RAS_TO_LPS @ source.affine_lps @ [*index, 1.0])[:3]


def expected(source: Volume, image, ijk_to_ras) -> tuple[np.ndarray, np.ndarray]:
    """Value at each pixel by the place that the message says, and where the volume has it."""
    rows, columns = image.shape[1:3]
    j, i = np.mgrid[:rows, :columns]
    pixels = np.stack([i, j, 0 * i, 0 * i + 1], -1).reshape(-1, 4)
    index = np.linalg.inv(source.affine_lps) @ RAS_TO_LPS @ ijk_to_ras @ pixels.T
    last = np.array(source.grid_shape[::-1])[:, None] - 1
    inside = ((index[:3] >= 0) & (index[:3] <= last)).all(axis=0)
    return (np.array([3, 5, 7]) @ index[:3]).reshape(rows, columns), inside.reshape(rows, columns)


@pytest.fixture
def server():
    server = SliceServer(port=0)
    yield server
    server.close()


@pytest.fixture
def receiver(server):
    client = pyigtl.OpenIGTLinkClient(port=server.port)
    until(lambda: server.receivers == 1)
    yield client
    client.stop()


def until(condition) -> None:
    end = time.monotonic() + SECONDS_TO_WAIT
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("turned", [False, True])
def test_a_receiver_finds_the_volumes_own_values_where_the_message_says(server, receiver, turned):
    source = volume()
    pose = axial_pose(ras_of(source, (20, 17, 14)))
    if turned:
        c, s = np.cos(0.7), np.sin(0.7)
        pose[:3, :3] = [[c, -s * 0.6, s * 0.8], [s, c * 0.6, -c * 0.8], [0, 0.8, 0.6]]
    cut = TipSlicer(source, pixels=(64, 48), spacing=0.5).cut(pose)
    assert server.send(cut)
    message = receiver.wait_for_message("MedFusion", timeout=SECONDS_TO_WAIT)
    assert message.message_type == "IMAGE"
    assert message.world_coordinate_system == "ras"
    assert message.image.shape == (1, 48, 64)
    np.testing.assert_allclose(message.ijk_to_world_matrix, cut.ijk_to_ras, atol=1e-4)
    values, inside = expected(source, message.image, message.ijk_to_world_matrix)
    assert inside.sum() > 500
    assert np.abs(message.image[0] - values)[inside].max() <= 0.51, "half a step of int16"


def test_the_tip_is_in_the_middle_and_an_axial_slice_lies_as_radiologists_look_at_it():
    source = volume()
    tip = ras_of(source, (20, 17, 14))
    cut = TipSlicer(source, pixels=(65, 49), spacing=0.5).cut(axial_pose(tip))
    np.testing.assert_allclose((cut.ijk_to_ras @ [32, 24, 0, 1])[:3], tip, atol=1e-9)
    assert cut.pixels[0, 24, 32] == 3 * 20 + 5 * 17 + 7 * 14
    np.testing.assert_allclose(cut.ijk_to_ras[:3, 0], [-0.5, 0, 0])
    np.testing.assert_allclose(cut.ijk_to_ras[:3, 1], [0, -0.5, 0])


def test_a_colour_slice_keeps_its_colours_and_what_lies_outside_is_black(server, receiver):
    source = volume(colour=True)
    tip = ras_of(source, (20, 17, 14))
    assert server.send(TipSlicer(source).cut(axial_pose(tip)))
    message = receiver.wait_for_message("MedFusion", timeout=SECONDS_TO_WAIT)
    assert message.image.shape == (1, 256, 256, 3)
    index = np.linalg.inv(message.ijk_to_world_matrix) @ [*tip, 1]
    # Between four pixels.
    assert index[:2] == pytest.approx([127.5, 127.5], abs=1e-3)
    middle = message.image[0, 127:129, 127:129].reshape(4, 3).mean(axis=0)
    assert middle == pytest.approx(source.voxels[14, 17, 20].astype(float), abs=2.0)
    assert (message.image[0, 0, 0] == 0).all()


def test_a_volume_that_was_moved_is_cut_where_it_is_now():
    source = volume()
    moved = np.eye(4)
    moved[:3, 3] = (7.0, -4.0, 3.0)
    tip = ras_of(source, (20, 17, 14)) + moved[:3, 3]
    slicer = TipSlicer(source, np.linalg.inv(moved), pixels=(65, 49))
    assert slicer.cut(axial_pose(tip)).pixels[0, 24, 32] == 3 * 20 + 5 * 17 + 7 * 14


@pytest.mark.parametrize("matrix", [np.full((4, 4), np.nan), np.zeros((4, 4)), np.ones((4, 4))])
def test_a_matrix_that_is_no_pose_is_refused(matrix):
    with pytest.raises(GeometryError, match="tracker's matrix"):
        TipSlicer(volume()).cut(matrix)


def test_from_a_tracker_to_a_receiver_and_only_while_the_tool_is_seen(server, receiver):
    source, port = volume(), free_port()
    tracker_server = pyigtl.OpenIGTLinkServer(port=port)
    tracker = Tracker("127.0.0.1", port, "StylusTipToRas")
    tips = [ras_of(source, (20, 17, k)) for k in (8, 12, 16)]
    ended, counts = threading.Event(), []
    thread = threading.Thread(
        target=lambda: counts.append(
            stream(TipSlicer(source), tracker, server, go_on=lambda _: not ended.is_set())
        )
    )
    thread.start()
    try:
        for tip in tips:
            tell(tracker_server, axial_pose(tip), "OK")
            message = receiver.wait_for_message("MedFusion", timeout=SECONDS_TO_WAIT)
            place = message.ijk_to_world_matrix @ [127.5, 127.5, 0, 1]
            np.testing.assert_allclose(place[:3], tip, atol=1e-3)
        tell(tracker_server, axial_pose(tips[0]), "MISSING")
        tell(tracker_server, np.eye(4), "OK")
        assert receiver.wait_for_message("MedFusion", timeout=1.5) is None
    finally:
        ended.set()
        thread.join(SECONDS_TO_WAIT)
        tracker.close()
        tracker_server.stop()
    assert counts[0].sent == 3
    assert counts[0].lost == 2


def tell(tracker_server, matrix, status: str) -> None:
    message = pyigtl.TransformMessage(matrix, device_name="StylusTipToRas")
    message.header_version = 2
    message.metadata["TransformStatus"] = status
    tracker_server.send_message(message)
    # The tracker's next pose replaces one that was not read yet.
    time.sleep(0.1)


def test_a_receiver_that_hangs_up_is_let_go_and_the_next_one_is_served(server):
    cut = TipSlicer(volume()).cut(axial_pose(np.zeros(3)))
    assert not server.send(cut), "nobody is there"
    for _ in range(2):
        client = pyigtl.OpenIGTLinkClient(port=server.port)
        until(lambda: server.receivers == 1)
        assert server.send(cut)
        assert client.wait_for_message("MedFusion", timeout=SECONDS_TO_WAIT) is not None
        client.stop()
        until(lambda: server.receivers == 0)


def test_a_receiver_that_does_not_read_keeps_nobody_and_gets_no_old_slices(server):
    slicer = TipSlicer(volume(), pixels=(128, 128))
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        until(lambda: server.receivers == 1)
        start, count = time.monotonic(), 300
        for number in range(count):
            server.send(slicer.cut(axial_pose([0.0, 0.0, float(number)])))
        assert time.monotonic() - start < SECONDS_TO_WAIT
        tops = list(received_tops(connection))
    assert len(tops) < count, "slices were left out"
    assert tops == sorted(tops)
    assert tops[-1] == count - 1, "the newest one came"


def received_tops(connection):
    """The S coordinate of each slice that waits in a socket."""
    connection.settimeout(1.0)
    received = b""
    with contextlib.suppress(TimeoutError):
        while chunk := connection.recv(1 << 20):
            received += chunk
    header_of, length = pyigtl.messages.MessageBase.parse_header, 58
    while len(received) >= length:
        header = header_of(received[:length])
        end = length + header["body_size"]
        message = pyigtl.ImageMessage()
        message.unpack(header, received[length:end])
        received = received[end:]
        yield round(message.ijk_to_world_matrix[2, 3])


def test_a_tracker_that_was_away_is_found_again():
    port = free_port()
    tracker = Tracker("127.0.0.1", port, "StylusTipToRas")
    assert tracker.newest(0.3) is None
    for number in (1.0, 2.0):
        server = pyigtl.OpenIGTLinkServer(port=port)
        pose = axial_pose([number, 0, 0])
        found = []
        end = time.monotonic() + SECONDS_TO_WAIT
        while not found and time.monotonic() < end:
            if server.is_connected():
                tell(server, pose, "OK")
            newest = tracker.newest(0.2)
            found += [newest] if newest is not None else []
        np.testing.assert_allclose(found[0].matrix, pose)
        server.stop()
    until(lambda: tracker.newest(0.1) is None and not tracker.is_connected)
    tracker.close()


@pytest.mark.parametrize(
    ("status", "seen"),
    [("OK", True), ("", True), ("TOOL_OK", True), ("MISSING", False), ("OUT_OF_VIEW", False)],
)
def test_what_the_tracker_says_of_a_pose_counts(status, seen):
    assert TrackedPose(axial_pose([1, 2, 3]), status).is_seen is seen
    assert not TrackedPose(np.eye(4), status).is_seen


def test_what_cannot_be_is_said_in_a_sentence(server):
    with pytest.raises(InputError, match="Choose another one"):
        SliceServer(port=server.port)
    with pytest.raises(InputError, match="not a device name"):
        SliceServer(port=0, name="A name that is too long for it")
    with socket.create_server(("127.0.0.1", 0)) as other:
        tracker = Tracker("127.0.0.1", other.getsockname()[1], "Tip")
        thread = threading.Thread(target=lambda: answer(other, b"HTTP/1.1 400 Bad Request" * 4))
        thread.start()
        with pytest.raises(InputError, match="not OpenIGTLink"):
            tracker.newest(5.0)
        thread.join()
        tracker.close()


def answer(listener, text: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(text)
        time.sleep(0.5)


def test_without_pyigtl_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyigtl", None)
    with pytest.raises(InputError, match=r"medfusion\[stream\]"):
        SliceServer(port=0)
