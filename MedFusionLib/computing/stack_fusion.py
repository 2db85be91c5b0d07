"""Fuses a stack batch by batch: the next batch is fetched, and the last written, meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from MedFusionLib.computing.device import autocast
from MedFusionLib.computing.host_memory import freed_memory_kept
from MedFusionLib.computing.slice_fusion import (
    FusionMethod,
    MultiFusionMethod,
    fuse_many_slices,
    fuse_slices,
)
from MedFusionLib.computing.transfer import Arrival, transfer_for
from MedFusionLib.errors import DeviceError
from MedFusionLib.slices import colour as colours
from MedFusionLib.slices.painting import SlicePainter

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Rebuild = Callable[["torch.device"], FusionMethod]
"""Builds the same method once more, on another device."""


@dataclass(frozen=True)
class _Inputs:
    """A batch on its way to the device, and the other volumes' colours that stay behind."""

    batch: Sequence[int]
    reference: Tensor
    lights: list[Tensor]
    others: list[np.ndarray]


class StackFuser:
    """Fuses batches of slices into an output stack; use it as a context.

    Where the painter has more than one other volume, the method must be a `MultiFusionMethod`.

    While the device works on a batch, the following one is read, scaled and sent, and the one
    before is painted and written by a thread of its own. At most one batch waits there, so memory
    stays bounded. Leaving the context without an error waits for the last write; what went wrong
    while writing is raised by the next call or there.
    """

    def __init__(
        self,
        method: FusionMethod,
        painter: SlicePainter,
        output: np.ndarray,
        device: torch.device,
        precision: str,
        rebuild: Rebuild | None = None,
    ) -> None:
        self.device = device
        self.warnings: list[str] = []
        self._method: FusionMethod | None = method
        self._painter, self._output = painter, output
        self._precision, self._rebuild = precision, rebuild
        self._transfer = transfer_for(device)
        self._ahead: _Inputs | None = None
        self._writer = ThreadPoolExecutor(1, "medfusion-writer")
        self._writing: Future[None] | None = None
        self._memory = ExitStack()

    def __enter__(self) -> StackFuser:
        self._memory.enter_context(freed_memory_kept())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._wait()
        finally:
            self._writer.shutdown()
            self._memory.close()

    def __call__(self, batch: Sequence[int], following: Sequence[int] = ()) -> None:
        """Fuse the slices of ``batch``; ``following`` will probably be asked for next."""
        inputs, self._ahead = self._fetched(batch), None
        fused = self._fused(inputs)
        # CUDA has only been told what to do: what comes now happens while it works.
        arrival = self._transfer.to_host(fused)
        if following:
            self._ahead = self._fetch(following)
        self._wait()
        self._writing = self._writer.submit(self._write, batch, arrival, inputs.others)

    def continue_on_cpu(self, first: int) -> None:
        """Fuse slice ``first`` and those behind it on the CPU, in float32, and warn of it.

        Raises ``DeviceError`` if it is on the CPU already, or the method cannot be built there.
        """
        given_up = self.device
        if given_up.type == "cpu" or self._rebuild is None:
            raise DeviceError(
                f"The memory of {given_up} does not suffice for a single slice. Choose a smaller "
                "method, or close other programs."
            )
        import torch

        # The old network goes first, so that its memory is free again.
        self._method = self._ahead = None
        self.device = torch.device("cpu")
        self._method = self._rebuild(self.device)
        self._transfer, self._precision = transfer_for(self.device), "float32"
        self.warnings.append(
            f"The memory of {given_up} does not suffice for a single slice. From slice "
            f"{first + 1} on, the volume was fused on the CPU in float32."
        )

    def _fetched(self, batch: Sequence[int]) -> _Inputs:
        ahead = self._ahead
        return ahead if ahead is not None and ahead.batch == batch else self._fetch(batch)

    def _fetch(self, batch: Sequence[int]) -> _Inputs:
        reference, others = self._painter.reference_unit(batch), self._painter.other_units(batch)
        to_device = self._transfer.to_device
        lights = [to_device(colours.light_of(other)) for other in others]
        return _Inputs(batch, to_device(reference), lights, others)

    def _fused(self, inputs: _Inputs) -> Tensor:
        assert self._method is not None
        reference, *lights = map(self._transfer.use, (inputs.reference, *inputs.lights))
        with autocast(self._precision, self.device):
            if len(lights) == 1:
                return fuse_slices(self._method, reference, lights[0], inputs.batch)
            assert isinstance(self._method, MultiFusionMethod)
            return fuse_many_slices(self._method, reference, lights, inputs.batch)

    def _wait(self) -> None:
        """Wait for the writer; raise what stopped it."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            writing.result()
        except MemoryError as error:
            # Not a MemoryError, which would be taken for one of the batch computed meanwhile.
            raise DeviceError(
                "The memory does not suffice to write the fused slices. Close other programs."
            ) from error

    def _write(self, batch: Sequence[int], arrival: Arrival, others: Sequence[np.ndarray]) -> None:
        fused = arrival()
        # Slice by slice, so that the writer needs little memory beside the running batch.
        for index, grey, *shown in zip(batch, fused, *others, strict=True):
            self._write_slice(index, grey, shown)

    def _write_slice(self, index: int, grey: np.ndarray, shown: Sequence[np.ndarray]) -> None:
        """Paint a fused slice (H, W) in [0, 1] in the colours of the others', and keep it."""
        if not np.isfinite(grey).all():
            raise DeviceError(
                f"The method gave slice {index + 1} values that are no numbers. Choose the "
                "precision float32."
            )
        self._output[index] = self._painter.voxels(grey, shown)
