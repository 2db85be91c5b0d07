"""Poses from a tracker's port, and slices to whoever connects to ours."""

from __future__ import annotations

import select
import socket
import socketserver
import threading
import time
from typing import Any

from MedFusionLib.errors import InputError
from MedFusionLib.streaming.messages import (
    HEADER_BYTES,
    TrackedPose,
    body_length,
    image_message,
    pose_of,
    pyigtl,
    refuse_device_name,
)
from MedFusionLib.streaming.tip_slices import TipSlice

SECONDS_TO_CONNECT = 1.0
SECONDS_TO_SEND = 2.0
"""For one slice; a receiver that takes longer has stopped receiving."""
SECONDS_TO_LOOK = 0.25
"""How often a waiting connection looks whether its receiver is still there."""
CHUNK = 65536


class Tracker:
    """Poses of one tool from an OpenIGTLink server such as PLUS; ``close`` hangs up.

    It connects by itself, and again after the server was gone.
    """

    def __init__(self, host: str, port: int, tool: str) -> None:
        pyigtl()
        self._address, self._tool = (host, port), tool
        self._socket: socket.socket | None = None
        self._received = b""

    @property
    def is_connected(self) -> bool:
        """Whether the server has answered and not hung up since."""
        return self._socket is not None

    def newest(self, timeout: float) -> TrackedPose | None:
        """The newest pose, or None where no new one comes within ``timeout`` seconds."""
        end, pose = time.monotonic() + timeout, None
        while pose is None and (left := end - time.monotonic()) > 0:
            if self._connected(left):
                self._receive(left)
                pose = self._newest_received()
        return pose

    def _connected(self, timeout: float) -> bool:
        if self._socket is None:
            try:
                wait = min(timeout, SECONDS_TO_CONNECT)
                self._socket = socket.create_connection(self._address, wait)
            except OSError:
                time.sleep(min(timeout, SECONDS_TO_LOOK))
        return self._socket is not None

    def _receive(self, timeout: float) -> None:
        """Whatever has come, so that what is read next is never an old pose."""
        connection = self._socket
        assert connection is not None
        try:
            while select.select([connection], [], [], timeout)[0]:
                chunk = connection.recv(CHUNK)
                if not chunk:
                    self.close()
                    return
                self._received += chunk
                timeout = 0.0
        except OSError:
            self.close()

    def _newest_received(self) -> TrackedPose | None:
        newest = None
        while len(self._received) >= HEADER_BYTES:
            header = self._received[:HEADER_BYTES]
            end = HEADER_BYTES + body_length(header)
            if len(self._received) < end:
                break
            newest = pose_of(header, self._received[HEADER_BYTES:end], self._tool) or newest
            self._received = self._received[end:]
        return newest

    def close(self) -> None:
        """Hang up."""
        connection, self._socket, self._received = self._socket, None, b""
        if connection is not None:
            connection.close()


class SliceServer:
    """Sends slices as IMAGE messages to all who connect to its port; ``close`` ends it.

    ``port`` 0 takes a free one; with ``host`` 127.0.0.1 only programs of this machine are served.
    A receiver that is slower than the tracker gets fewer slices, each the newest one: none ever
    waits behind others.
    """

    def __init__(self, port: int = 18944, name: str = "MedFusion", host: str = "127.0.0.1") -> None:
        pyigtl()
        refuse_device_name(name)
        self._name = name
        self._news = _News()
        try:
            self._server = _Server((host, port), self._news)
        except OSError as error:
            raise InputError(
                f"Port {port} of {host} cannot be used ({error.strerror}). Choose another one."
            ) from error
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def receivers(self) -> int:
        """How many receive now."""
        return self._news.readers

    def send(self, cut: TipSlice) -> bool:
        """Send a slice; False where nobody is there to receive it."""
        if not self.receivers:
            return False
        self._news.tell(image_message(cut, self._name))
        return True

    def close(self) -> None:
        """Hang up and free the port."""
        self._news.end()
        self._server.shutdown()
        self._server.server_close()


class _News:
    """The newest message, for any number of readers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._number, self._message, self.ended, self.readers = 0, b"", False, 0

    def tell(self, message: bytes) -> None:
        with self._changed:
            self._number, self._message = self._number + 1, message
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def count(self, change: int) -> int:
        """One reader more or less; the number of the newest message, which a new one has missed."""
        with self._changed:
            self.readers += change
            return self._number

    def after(self, number: int) -> tuple[int, bytes]:
        """The newest message and its number, once there is a newer one, or after a while."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.ended or self._number > number, timeout=SECONDS_TO_LOOK
            )
            return self._number, self._message


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], news: _News) -> None:
        self.news = news
        super().__init__(address, _Receiver)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A receiver that hangs up in mid-message is no news."""


class _Receiver(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        news = self.server.news
        self.request.settimeout(SECONDS_TO_SEND)
        number = news.count(+1)
        try:
            while not news.ended and self._is_there():
                newest, message = news.after(number)
                if newest > number:
                    self.request.sendall(message)
                number = newest
        finally:
            news.count(-1)

    def _is_there(self) -> bool:
        """Whether the receiver has not hung up; what it says is read and left aside."""
        while select.select([self.request], [], [], 0)[0]:
            if not self.request.recv(CHUNK):
                return False
        return True
