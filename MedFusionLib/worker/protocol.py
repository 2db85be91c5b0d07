"""The words in which the panel and its worker process speak: version 1.

The client starts ``python -m MedFusionLib.worker FOLDER`` and writes one JSON object a line to its
standard input; the worker writes one JSON object a line to its standard output. Standard error is
the log and carries plain text.

Every message has ``"v": 1`` and ``"id"``, a whole number that the client gives to a request and
the worker repeats in each answer to it.

Requests (``"do"``):

``describe``
    Result: ``version``, ``devices`` (list of ``{"name", "label"}``), ``warning`` (text or
    null) and ``torch`` (version or null).
``check_position``
    ``reference``, ``other`` and ``transform`` as of ``fuse``. Result: ``check``, the report of
    ``MedFusionLib.registration.quick_check``.
``fuse``
    ``reference`` and ``other`` (volumes), ``transform`` (or null: where registration starts when
    ``options["alignment"]`` is rigid or affine, else what lays the volumes on each other),
    ``options`` (keyword arguments of ``MedFusionLib.fusion.fuse``), ``score`` (whether to measure
    the result) and ``landmarks`` (or null: a list of ``[label, [x, y, z]]`` for ``reference`` and
    for ``other``, in the own space of each, LPS, mm). A registration starts from the landmarks
    instead of ``transform``, which must be linear then; the report has ``landmarks``, how far they
    lie apart. ``further`` (may be left out) lists the volumes behind the second, each with
    ``volume``, ``transform`` (of its own, as above), ``alignment``, ``window`` and ``colour``, as
    ``fuse`` takes them for one other volume. Result: ``volume``, ``report``, ``transform`` (the one
    that was used, or null) and ``further_transforms`` (likewise one for each further volume).
``fuse_series``
    ``case`` (a name), ``reference_files`` and ``other_files`` (absolute paths of the files of two
    DICOM series), ``path`` (absolute, of the volume to write) and ``settings`` (keyword arguments
    of ``MedFusionLib.fusion.fuse``). Result: ``report``. Nothing but the file at ``path`` is kept.
``measure``
    ``fusion`` (the id of the last ``fuse`` request), ``most_slices`` (how many are measured, null
    for all). Result: ``metrics`` and ``hidden``, as they stand in a report (the metrics with
    ``hidden_mm2``, `Hidden.areas` of their plane), and ``seconds``. The metrics are defined for two
    sources: with further ones there are no ``metrics``, and every slice is measured.
``map_hidden``
    ``fusion`` (as of ``measure``). Result: ``volume`` (on the fused volume's grid, per cent of the
    local contrast that is hidden of the source that loses more) and ``hidden``, as of ``measure``.
``map_invented``
    ``fusion`` (as of ``measure``), on a finer grid. Result: ``volume`` (on that grid, what was not
    measured, docs/FINER.md).
``preview``
    As ``fuse``, and ``point`` (LPS, mm), in the slice to fuse. Result: ``volume`` (a part of the
    reference's grid, one slice thick), ``index``, the slice's place in its stack, and ``seconds``
    that fusing it took. It is of the measured grid and of one plane, whatever ``grid`` and
    ``planes`` say.
``save_report``
    ``report``, ``path`` (absolute, .html or .json). Result: nothing.
``export_dicom``
    ``volume``, ``reference_metadata``, ``other_metadata`` (or null), ``further_metadata`` (a list,
    may be left out), ``report``, ``folder`` (an absolute path). Result: ``files``.
``export_navigation``
    As ``export_dicom``, with ``other_place`` (``affine`` and ``shape`` of the other volume's grid,
    or null) and ``square_pixels``. Result: ``files`` and ``notes``, sentences on what was left out.
``cancel``
    ``target``: the id of the request to stop. Has no answer of its own.

Answers (``"event"``):

``ready``
    Sent once, unasked, with id 0: ``pid`` and ``version``.
``progress``
    ``done``, ``total``, ``message``.
``result``
    Ends a request.
``error``
    Ends a request: ``kind`` (name of the error's class) and ``message`` (a sentence for the user).
    ``kind`` is ``Cancelled`` when the request was stopped.

A volume is ``{"file", "spacing", "origin", "directions", "modality", "metadata"}``; ``file`` is the
bare name of a ``.npy`` file in FOLDER, which is read memory-mapped. A transform is the bare name of
a ``.h5`` file in FOLDER, as ITK writes it, and maps points of the reference's space to the other
volume's space, LPS, mm.

At the end of its standard input the worker removes FOLDER and exits, so that a client that is
gone leaves neither a process nor a file behind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib.errors import MedFusionError
from MedFusionLib.volumes.volume import Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

VERSION = 1


class ProtocolError(MedFusionError):
    """A message is not one of this protocol."""


def encode(message: Mapping[str, Any]) -> bytes:
    """One line, newline included, of pure ASCII; numpy numbers are written as numbers."""
    text = json.dumps({"v": VERSION, **message}, default=_plain)
    return text.encode("ascii") + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no place in a message")


def decode(line: bytes) -> dict[str, Any]:
    """The message of one line; ``ProtocolError`` when it is not a message of this version."""
    try:
        message = json.loads(line)
    except ValueError as error:
        raise ProtocolError("The fusion process sent a line that is not a message.") from error
    if not isinstance(message, dict) or message.get("v") != VERSION or "id" not in message:
        raise ProtocolError("The fusion process sent a message of another version.")
    return message


class LineBuffer:
    """Puts lines together again from chunks that end anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def lines(self, chunk: bytes) -> list[bytes]:
        """The lines that ``chunk`` completes, without their newlines and without empty ones."""
        *complete, self._rest = (self._rest + chunk).split(b"\n")
        return [line for line in complete if line.strip()]


def volume_message(volume: Volume, file: str) -> dict[str, Any]:
    """Everything of a volume but its voxels, which lie in ``file``."""
    return {
        "file": file,
        "spacing": volume.spacing,
        "origin": volume.origin,
        "directions": volume.directions,
        "modality": volume.modality,
        "metadata": dict(volume.metadata),
    }


def open_volume(message: Mapping[str, Any], folder: Path) -> Volume:
    """The volume of a message, its voxels memory-mapped and read-only."""
    return Volume(
        voxels=np.load(_inside(folder, message["file"]), mmap_mode="r", allow_pickle=False),
        spacing=tuple(message["spacing"]),
        origin=tuple(message["origin"]),
        directions=tuple(message["directions"]),
        modality=message["modality"],
        metadata=dict(message["metadata"]),
    )


def save_volume(volume: Volume, folder: Path, file: str) -> dict[str, Any]:
    """Write the voxels to ``folder/file`` and return the volume's message."""
    np.save(_inside(folder, file), np.ascontiguousarray(volume.voxels), allow_pickle=False)
    return volume_message(volume, file)


def save_transform(transform: sitk.Transform | None, folder: Path, file: str) -> str | None:
    """Write a transform, linear or not, to ``folder/file``; returns the file, None for none."""
    if transform is None:
        return None
    import SimpleITK as sitk

    sitk.WriteTransform(transform, str(_inside(folder, file, ".h5")))
    return file


def open_transform(file: str | None, folder: Path) -> sitk.Transform | None:
    """The transform of a message."""
    if file is None:
        return None
    import SimpleITK as sitk

    return sitk.ReadTransform(str(_inside(folder, file, ".h5")))


def _inside(folder: Path, file: str, suffix: str = ".npy") -> Path:
    if Path(file).name != file or not file.endswith(suffix):
        raise ProtocolError(f"'{file}' is not the bare name of a {suffix} file.")
    return folder / file
