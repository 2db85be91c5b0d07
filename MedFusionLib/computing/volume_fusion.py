"""Fuses a whole volume by methods that see three dimensions: in overlapping windows, seamlessly.

Each voxel is the mean of all windows that hold it. Their weights are Gaussians that fall off
towards a window's borders, as in MONAI's sliding windows, and are made to sum to 1 axis by axis,
so that neither a map of weights nor a volume of their sums is held.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from MedFusionLib.computing.device import autocast, run_in_batches
from MedFusionLib.computing.plane_fusion import PlaneSettings
from MedFusionLib.computing.slice_fusion import FusionMethod
from MedFusionLib.computing.stack_fusion import Rebuild, StackFuser
from MedFusionLib.slices import colour as colours
from MedFusionLib.slices.painting import Layer, SlicePainter, empty_result
from MedFusionLib.slices.stack import reflected_indices, slice_stack

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OVERLAP = 0.5
"""Share of a window that the next one along an axis covers as well, at least."""
SIGMA_SHARE = 0.125
"""Standard deviation of a window's weights, as a share of its side (MONAI's default)."""


@runtime_checkable
class VolumeFusionMethod(FusionMethod, Protocol):
    """Fuses windows of a volume; of slices it fuses each by itself, as a volume without depth."""

    window: tuple[int, int, int]
    """Slices, rows and columns of the largest window; multiples of ``stride``."""

    def fuse_volume(self, reference: Tensor, other: Tensor) -> Tensor:
        """Fuse float tensors (N, 1, D, H, W) in [0, 1] on one device into one of the same shape.

        D, H and W are multiples of ``stride``.
        """
        ...


@runtime_checkable
class MultiVolumeFusionMethod(VolumeFusionMethod, Protocol):
    """Additionally makes one volume of its fusions with each of several others."""

    def joined(
        self, reference: Tensor, others: Sequence[Tensor], fused: Sequence[Tensor]
    ) -> Tensor:
        """Slices (N, 1, H, W) in [0, 1] from their fusions with each of the others."""
        ...


@dataclass(frozen=True)
class Span:
    """A window along one axis: its voxels, and its share in each of them."""

    start: int
    stop: int
    shares: np.ndarray
    """float32; those of all spans of an axis sum to 1 at every voxel."""

    @property
    def voxels(self) -> slice:
        return slice(self.start, self.stop)


def spans_of(length: int, window: int, stride: int) -> list[Span]:
    """The fewest windows of at most ``window`` voxels that cover an axis with that overlap.

    All begin at multiples of ``stride``, as a network's tokens do: they then see one grid of
    tokens, whatever the window. The last one ends where the axis does.
    """
    side = min(-(-length // stride) * stride, window)
    count = math.ceil(max(length - side, 0) / (side * (1 - OVERLAP))) + 1
    last = math.ceil((length - side) / stride)
    starts = [round(place) * stride for place in np.linspace(0, last, count)]
    offsets = np.arange(side) - (side - 1) / 2
    weights = np.exp(-0.5 * (offsets / (SIGMA_SHARE * side)) ** 2)
    cuts = [weights[: length - start] for start in starts]
    total = np.zeros(length)
    for start, cut in zip(starts, cuts, strict=True):
        total[start : start + len(cut)] += cut
    return [
        Span(
            start,
            start + len(cut),
            (cut / total[start : start + len(cut)]).astype(np.float32),
        )
        for start, cut in zip(starts, cuts, strict=True)
    ]


def fuse_in_windows(
    planes: Sequence[str],
    methods: list[FusionMethod],
    reference: Layer,
    others: Sequence[Layer],
    settings: PlaneSettings,
) -> tuple[np.ndarray, list[str]]:
    """As `fuse_planes`, by a `VolumeFusionMethod`; ``planes`` is the one whose slices are stacked.

    At no time are more slices in float than a window has.
    """
    (plane,) = planes
    grid = reference.volume
    fused = empty_result(grid, any(layer.colour_map is not None for layer in others))
    output = slice_stack(fused, grid.direction_matrix, plane)
    painter = SlicePainter(reference, others, plane)
    fuser = WindowFuser(
        methods.pop(), painter, output, settings.device, settings.precision, settings.rebuild
    )
    count = len(fuser.windows)
    with fuser:
        for done in run_in_batches(fuser, count, 1, settings.cancel):
            if settings.progress is not None:
                settings.progress(done, count, "Fusing windows")
        fuser.finish()
    return fused, fuser.warnings


class WindowFuser(StackFuser):
    """Fuses one window after the other, layer by layer; slices that are complete are written."""

    def __init__(
        self,
        method: FusionMethod,
        painter: SlicePainter,
        output: np.ndarray,
        device: torch.device,
        precision: str,
        rebuild: Rebuild | None = None,
    ) -> None:
        super().__init__(method, painter, output, device, precision, rebuild)
        assert isinstance(method, VolumeFusionMethod)
        lengths = zip(output.shape[:3], method.window, strict=True)
        self.windows = list(product(*(spans_of(*pair, method.stride) for pair in lengths)))
        self._layer: Span | None = None
        self._sources: list[np.ndarray] = []
        self._sums: list[np.ndarray] = []
        """Of each other volume, the weighted sum of the windows so far, for the layer's slices."""

    def __call__(self, batch: Sequence[int], following: Sequence[int] = ()) -> None:
        """Fuse the windows of ``batch``; one for which memory ran out may be tried again."""
        for index in batch:
            layer, rows, columns = self.windows[index]
            self._enter(layer)
            box = slice(None), rows.voxels, columns.voxels
            shares = layer.shares[:, None, None] * rows.shares[:, None] * columns.shares
            reference, *others = (source[box] for source in self._sources)
            fused = [self._fused_window(reference, other) for other in others]
            for total, one in zip(self._sums, fused, strict=True):
                total[box] += shares * one

    def finish(self) -> None:
        """Write the last slices."""
        if self._layer is not None:
            self._write_first(self._layer.stop - self._layer.start)
        self._layer, self._sources, self._sums = None, [], []

    def continue_on_cpu(self, first: int) -> None:
        given_up = self.device
        super().continue_on_cpu(first)
        self.warnings[-1] = (
            f"The memory of {given_up} does not suffice for a single window of the volume. From "
            f"window {first + 1} of {len(self.windows)} on, it was fused on the CPU in float32."
        )

    def _enter(self, layer: Span) -> None:
        """Write what no further window reaches, and read the sources of the layer's slices."""
        if self._layer == layer:
            return
        kept: list[np.ndarray] = []
        if self._layer is not None:
            complete = layer.start - self._layer.start
            self._write_first(complete)
            kept = [total[complete:] for total in self._sums]
        self._sources = self._read(range(layer.start, layer.stop))
        self._sums = [np.zeros_like(source) for source in self._sources[1:]]
        for total, sum_so_far in zip(self._sums, kept, strict=bool(kept)):
            total[: len(sum_so_far)] = sum_so_far
        self._layer = layer

    def _read(self, slices: range) -> list[np.ndarray]:
        """Reference and luminance of each other volume, (D, H, W) float32 in [0, 1]."""
        # One after the other: the colours of many slices at once would take three times the memory.
        rows = [
            (
                self._painter.reference_unit([place]),
                *map(colours.light_of, self._painter.other_units([place])),
            )
            for place in slices
        ]
        return [np.concatenate(source) for source in zip(*rows, strict=True)]

    def _fused_window(self, reference: np.ndarray, other: np.ndarray) -> np.ndarray:
        import torch

        method, (depth, height, width) = self._method, reference.shape
        assert isinstance(method, VolumeFusionMethod)
        sources = (_padded(source, method.stride) for source in (reference, other))
        with torch.inference_mode(), autocast(self._precision, self.device):
            fused = method.fuse_volume(*(source.to(self.device) for source in sources))
        return fused[0, 0, :depth, :height, :width].float().clamp(0, 1).cpu().numpy()

    def _write_first(self, count: int) -> None:
        """Paint and write the first slices of the layer, which are complete."""
        assert self._layer is not None
        for place in range(count):
            index = self._layer.start + place
            reference, *others = (source[place] for source in self._sources)
            fused = self._joined(reference, others, [total[place] for total in self._sums])
            brightest = np.maximum.reduce([reference, *others])
            shown = np.clip(fused, 0, 1) * (brightest > 0)
            colours_of_others = [unit[0] for unit in self._painter.other_units([index])]
            self._write_slice(index, shown, colours_of_others)

    def _joined(
        self, reference: np.ndarray, others: list[np.ndarray], fused: list[np.ndarray]
    ) -> np.ndarray:
        """One slice (H, W) of its fusions with each other volume."""
        if len(fused) == 1:
            return fused[0]
        import torch

        assert isinstance(self._method, MultiVolumeFusionMethod)
        one, *rest = (torch.from_numpy(image)[None, None] for image in (reference, *others, *fused))
        return self._method.joined(one, rest[: len(others)], rest[len(others) :])[0, 0].numpy()


def _padded(window: np.ndarray, stride: int) -> Tensor:
    """(1, 1, D, H, W), grown to multiples of the stride by mirroring at the far ends."""
    import torch

    for axis, length in enumerate(window.shape):
        if length % stride:
            window = window.take(reflected_indices(length, stride), axis=axis)
    return torch.from_numpy(np.ascontiguousarray(window))[None, None]
