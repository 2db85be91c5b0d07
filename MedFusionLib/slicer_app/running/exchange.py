"""The private folder through which voxels reach the worker process and come back."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from MedFusionLib.slicer_app.pacing import BYTES_PER_STEP
from MedFusionLib.volumes.volume import Volume
from MedFusionLib.worker.protocol import open_transform, open_volume, save_transform, volume_message


class ExchangeFolder:
    """A temporary folder that only this user can enter, with volumes that are written once.

    A volume or transform that is handed over again (the same object) is not written again, until
    ``keepOnly`` lets it go.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="medfusion-"))
        self._written: dict[int, tuple[Volume, str]] = {}
        self._transforms: dict[int, tuple[Any, str | None]] = {}
        self._count = 0

    def nameOf(self, volume: Volume) -> str | None:
        """The file that holds the volume's voxels, if it was written."""
        written = self._written.get(id(volume))
        return written[1] if written else None

    def write(self, volume: Volume) -> Iterator[None]:
        """Write the voxels piece by piece, one with each step of the iteration."""
        if self.nameOf(volume) is not None:
            return
        file = self._newName(".npy")
        voxels = volume.voxels
        target = np.lib.format.open_memmap(
            self.path / file, mode="w+", dtype=_dtypeOf(voxels), shape=voxels.shape
        )
        layers = max(1, BYTES_PER_STEP // max(1, voxels[0].nbytes))
        for first in range(0, len(voxels), layers):
            target[first : first + layers] = voxels[first : first + layers]
            yield
        del target
        self._written[id(volume)] = (volume, file)

    def message(self, volume: Volume) -> dict[str, Any]:
        """The volume as the worker is told of it; it has to be written before."""
        return volume_message(volume, self._written[id(volume)][1])

    def writeTransform(self, transform) -> str | None:
        """Write a SimpleITK transform and return the name of its file, None for no transform.

        A preview hands over the same one with each slice, and so names the same file for it.
        """
        if transform is None:
            return None
        if id(transform) not in self._transforms:
            file = save_transform(transform, self.path, self._newName(".h5"))
            self._transforms[id(transform)] = (transform, file)
        return self._transforms[id(transform)][1]

    def readTransform(self, file: str):
        """Read and remove a transform that the worker wrote."""
        transform = open_transform(file, self.path)
        self.remove(file)
        return transform

    def _newName(self, suffix: str) -> str:
        self._count += 1
        return f"input-{self._count}{suffix}"

    def open(self, message: dict[str, Any]) -> Volume:
        """A volume that the worker wrote, memory-mapped."""
        return open_volume(message, self.path)

    def remove(self, file: str | None) -> None:
        """Remove one file; on Windows it stays until it is no longer mapped."""
        if file is not None:
            with contextlib.suppress(OSError):
                (self.path / file).unlink()

    def keepOnly(self, volumes: list[Volume], transforms: list[Any]) -> None:
        """Forget and remove all written volumes and transforms but these."""
        kept = {id(one) for one in (*volumes, *transforms)}
        for key in [key for key in self._written if key not in kept]:
            self.remove(self._written.pop(key)[1])
        for key in [key for key in self._transforms if key not in kept]:
            self.remove(self._transforms.pop(key)[1])

    def close(self) -> None:
        """Remove the folder and all that is in it."""
        self._written.clear()
        self._transforms.clear()
        shutil.rmtree(self.path, ignore_errors=True)


def _dtypeOf(voxels: np.ndarray) -> np.dtype:
    """Files are read the same way: float32 holds every intensity that a scanner delivers."""
    return np.dtype(np.float32) if voxels.dtype == np.float64 else voxels.dtype
