"""``medfusion stream``: the slice at a tracked tip, sent to another system by OpenIGTLink."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from MedFusionLib.commands.common import say
from MedFusionLib.errors import InputError

if TYPE_CHECKING:
    from MedFusionLib.streaming.stream import StreamCount

SECONDS_TO_SAY = 5.0


def stream_command(
    volume: Path = typer.Argument(help="Fused volume: file or DICOM folder."),
    tracker: str = typer.Option(
        "localhost:18944", help="HOST:PORT of the tracker's OpenIGTLink server, such as PLUS."
    ),
    tool: str = typer.Option(
        "StylusTipToRas", help="Name of the tool's transform, from its tip to the volume's RAS."
    ),
    port: int = typer.Option(18946, min=1, max=65535, help="Port to send slices on."),
    listen: str = typer.Option(
        "127.0.0.1", help="Address to send from; 0.0.0.0 lets other machines connect."
    ),
    name: str = typer.Option("MedFusion", help="Device name of the slices, up to 20 letters."),
    plane: str = typer.Option(
        "axial", help="axial through the tip, or the pointer's own x-y plane (pointer)."
    ),
    spacing: float = typer.Option(0.8, min=0.05, help="Size of a pixel in mm; 256×256 are sent."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print errors only."),
) -> None:
    """Send the slice at a tracked tip to another system, until Ctrl-C.

    Nothing is sent while the tracker does not see the tool. Research use only.
    """
    from MedFusionLib.streaming.stream import PLANES, stream

    host, tracker_port = _address(tracker)
    if plane not in PLANES:
        raise InputError(f"There is no plane '{plane}'. Choose one of: {', '.join(PLANES)}.")

    from MedFusionLib.streaming.connections import SliceServer, Tracker
    from MedFusionLib.streaming.tip_slices import TipSlicer
    from MedFusionLib.volumes.files import read_volume

    source = Tracker(host, tracker_port, tool)
    say(f"Reading {volume}", quiet)
    slicer = TipSlicer(read_volume(volume), spacing=spacing)
    server = SliceServer(port, name, listen)
    say(f"Slices of '{name}' on port {server.port}; poses of '{tool}' from {tracker}.", quiet)
    say("Research use only. Ctrl-C ends it.", quiet)
    try:
        stream(slicer, source, server, plane, _Teller(quiet))
    finally:
        server.close()
        source.close()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"'{text}' is not an address. Give HOST:PORT, such as localhost:18944.")
    return host, int(port)


class _Teller:
    """Says now and then how it goes; never tells the stream to end."""

    def __init__(self, quiet: bool) -> None:
        from MedFusionLib.streaming.stream import Rate

        self._quiet, self._rate, self._said = quiet, Rate(), ""

    def __call__(self, count: StreamCount) -> bool:
        if self._rate.seconds >= SECONDS_TO_SAY or self._kind(count) != self._said:
            self._said = self._kind(count)
            say(f"{self._said} {self._rate.of(count.sent):.1f} slices/s.", self._quiet)
        return True

    @staticmethod
    def _kind(count: StreamCount) -> str:
        if count.stale:
            return "The tracker is silent: nothing is sent."
        if not count.is_seen:
            return "The tracker does not see the tool: nothing is sent."
        return "Sending."
