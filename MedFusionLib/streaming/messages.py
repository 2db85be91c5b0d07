"""OpenIGTLink's messages to bytes and back; the package pyigtl knows their format.

Its own connections are not used: they take a program's signals, give up a slice that takes longer
than 10 ms to send, and keep a processor busy once the other side has hung up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.streaming.tip_slices import TipSlice

LONGEST_NAME = 20
"""Bytes of a device name in OpenIGTLink's header."""
HEADER_BYTES = 58
LARGEST_MESSAGE = 64 * 2**20
"""Bytes; a header that tells of more is not one of a tracker's."""
STATUS_KEYS = ("TransformStatus", "Status")
SEEN = ("OK", "SWITCH_IS_ON", "UNKNOWN", "")
"""Words with which a tracker does not say that a pose is wrong."""


@dataclass(frozen=True, eq=False)
class TrackedPose:
    """A pose that a tracker has sent: ``matrix`` (4, 4; RAS, mm), and its word on it (or empty)."""

    matrix: np.ndarray
    status: str = ""

    @property
    def is_seen(self) -> bool:
        """Whether the tracker sees the tool; many send a unit matrix for one that they do not."""
        is_pose = np.isfinite(self.matrix).all() and not np.array_equal(self.matrix, np.eye(4))
        return bool(is_pose and is_vouched_for(self.status))


def is_vouched_for(status: str) -> bool:
    """Whether a tracker's word on a pose does not say that it is wrong; an empty one does not."""
    return status.upper().removeprefix("TOOL_") in SEEN


def refuse_device_name(name: str) -> None:
    """Raise ``InputError`` for a name that does not fit into OpenIGTLink's header."""
    if not 0 < len(name) <= LONGEST_NAME or not name.isascii():
        raise InputError(
            f"'{name}' is not a device name of OpenIGTLink. Take 1 to {LONGEST_NAME} letters "
            "without accents."
        )


def image_message(cut: TipSlice, name: str) -> bytes:
    """A slice as an IMAGE message, its place in RAS."""
    message = pyigtl().ImageMessage(
        cut.pixels,
        ijk_to_world_matrix=cut.ijk_to_ras,
        world_coordinate_system="ras",
        device_name=name,
    )
    return bytes(message.pack())


def body_length(header: bytes) -> int:
    """Bytes that follow a message's header. Raises ``InputError`` for what is no such header."""
    try:
        length = int(_fields(header)["body_size"])
    except (UnicodeDecodeError, ValueError):
        length = -1
    if not 0 <= length <= LARGEST_MESSAGE:
        raise InputError("What the tracker's port sends is not OpenIGTLink. Check host and port.")
    return length


def pose_of(header: bytes, body: bytes, tool: str) -> TrackedPose | None:
    """The pose of a tool, where a message is one of it."""
    fields = _fields(header)
    if fields["message_type"] != "TRANSFORM" or fields["device_name"] != tool:
        return None
    message = pyigtl().TransformMessage()
    message.unpack(fields, body)
    status = next((message.metadata[key] for key in STATUS_KEYS if key in message.metadata), "")
    return TrackedPose(np.asarray(message.matrix, dtype=float), status)


def _fields(header: bytes) -> dict[str, Any]:
    return dict(pyigtl().messages.MessageBase.parse_header(header))


def pyigtl() -> Any:
    """The package; raises ``InputError`` with a sentence where it is not installed."""
    try:
        import pyigtl
    except ImportError as error:
        raise InputError(
            "Streaming needs the package pyigtl. Install it with: pip install 'medfusion[stream]'"
        ) from error
    return pyigtl
